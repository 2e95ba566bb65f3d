"""Workers and producers that log what they do, for tests that break them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.faults.invariants import violations
from tests.worker.conftest import MANAGE, WorkerProcess, worker  # noqa: F401  for the tests here


@pytest.fixture
def log(tmp_path, monkeypatch) -> Path:
    """The file in which bodies note their starts and ends; every process of the test knows it."""
    path = tmp_path / "log"
    monkeypatch.setenv("DJANGO_JOBS_TEST_LOG", str(path))
    return path


@pytest.fixture
def once(tmp_path) -> str:
    """A file that makes a failpoint act in one process only."""
    return str(tmp_path / "once")


@pytest.fixture
def all_is_well(log, redis_clean):
    """A function that waits until nothing is wrong with any job, and fails when that gets no better for so long."""

    def check(seconds: float = 30) -> None:
        best, since = len(violations(log, redis_clean)), time.monotonic()
        while wrong := violations(log, redis_clean):
            if len(wrong) < best:
                best, since = len(wrong), time.monotonic()
            assert time.monotonic() < since + seconds, wrong[:10]
            time.sleep(0.2)

    return check
