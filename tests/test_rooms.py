"""The rooms of the house know only those below them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PLAIN = [
    "states",
    "retries",
    "cron",
    "signals",
    "codec",
    "histogram",
    "ids",
    "conf",
    "exceptions",
    "embedded",
    "failpoints",
    "middleware",
    "patience",
    "plain",
]


def test_imports_keep_the_contracts_of_setup_cfg():
    lint = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as lint; lint()"]

    done = subprocess.run([*lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", PLAIN)
def test_a_plain_room_loads_no_database_and_no_redis(room):
    program = f"import sys, django_jobs.{room}; print({{'django.db', 'redis'}} & set(sys.modules) or '')"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("", "")


def test_the_front_door_opens_without_settings():
    program = "import django_jobs, django_jobs.embedded, sys; print('django_jobs.models' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("False", "")
