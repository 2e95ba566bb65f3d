"""Type checkers find every wrong call of a task, and nothing else, without a plugin."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.once

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = Path(__file__).with_name("sample.py")
WRONG = {number for number, line in enumerate(SAMPLE.read_text().splitlines(), start=1) if "# error" in line}


def test_mypy_finds_what_is_wrong(tmp_path):
    options = ["--strict", "--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]

    done = check("mypy", *options, f"--cache-dir={tmp_path}", "--output=json", str(SAMPLE))

    found = [json.loads(line) for line in done.stdout.splitlines()]
    errors = [one for one in found if one["severity"] == "error" and one["code"] != "untyped-decorator"]
    assert not done.stderr
    assert {Path(one["file"]).name for one in errors} == {SAMPLE.name}, errors
    assert {one["line"] for one in errors} == WRONG, errors
    messages = [one["message"] for one in errors]
    assert 'Argument 1 to "enqueue" of "Task" has incompatible type "str"; expected "int"' in messages
    assert 'Unexpected keyword argument "cpy" for "enqueue" of "Task"; did you mean "copy"?' in messages


def test_pyright_finds_what_is_wrong(tmp_path):
    (tmp_path / SAMPLE.name).write_text(SAMPLE.read_text())
    (tmp_path / "pyrightconfig.json").write_text(json.dumps({"include": [SAMPLE.name], "extraPaths": [str(ROOT)]}))

    done = check("pyright", "--project", str(tmp_path), "--pythonpath", sys.executable, "--outputjson")

    errors = json.loads(done.stdout)["generalDiagnostics"]
    assert {one["range"]["start"]["line"] + 1 for one in errors} == WRONG, errors


def check(tool: str, *arguments: str) -> subprocess.CompletedProcess:
    # pyright's wrapper would ask the network for a newer version of itself
    environment = os.environ | {"MYPYPATH": str(ROOT), "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    return subprocess.run(
        [sys.executable, "-m", tool, *arguments], cwd=SAMPLE.parent, env=environment, capture_output=True, text=True
    )


def test_the_package_says_that_it_is_typed():
    assert (ROOT / "django_jobs" / "py.typed").exists()
    assert re.search(r"^    py\.typed\n    \*\*/\*\.pyi$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)
