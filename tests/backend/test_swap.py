"""A project written for another backend works the same with ours, once its settings name it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.settings import FRAMEWORK
from tests.worker.conftest import MANAGE, effects

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_project_written_for_another_backend_works_with_ours(redis_clean):
    theirs = use(f"{FRAMEWORK}.backends.immediate.ImmediateBackend", "enqueue-and-show")
    remembered = effects("swap")
    ours = "django_jobs.backend.JobsBackend"

    assert manage(ours, "check").stdout.startswith("System check identified no issues")
    ids = use(ours, "enqueue")
    work = manage(ours, "runworker", "--burst")

    results = use(ours, "results", *ids)
    assert [shown for _, shown in results] == [with_id(shown, theirs, results) for _, shown in theirs], work.stdout
    assert effects("swap") == sorted(remembered * 2)


def with_id(shown, theirs, results):
    """Return what the other backend has shown, its ids replaced by ours."""
    text = json.dumps(shown)
    for (their_id, _), (our_id, _) in zip(theirs, results, strict=True):
        text = text.replace(their_id, our_id)
    return json.loads(text)


def use(backend, *arguments):
    done = run(backend, "-m", "tests.backend.swap.use", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def manage(backend, *arguments):
    return run(backend, str(MANAGE), *arguments)


def run(backend, *arguments):
    environment = os.environ | {"SWAP_BACKEND": backend, "DJANGO_SETTINGS_MODULE": "tests.backend.swap.settings"}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, timeout=60)
