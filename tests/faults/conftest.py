"""Workers and producers that log what they do, for tests that break them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.faults.invariants import violations
from tests.services import wait_for
from tests.worker.conftest import WorkerProcess, worker  # noqa: F401  a fixture


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
    """A function that waits until nothing is wrong with any job, and fails with what still is."""

    def check(seconds: float = 30) -> None:
        try:
            wait_for(lambda: not violations(log, redis_clean), seconds, "all jobs to be done")
        except AssertionError as error:
            raise AssertionError(f"{error}: {violations(log, redis_clean)[:10]}") from None

    return check
