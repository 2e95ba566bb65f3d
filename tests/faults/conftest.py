"""Workers and producers that log what they do, for tests that break them."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import redis

from tests.app import tasks
from tests.faults.invariants import violations
from tests.worker.conftest import MANAGE, WorkerProcess, worker  # noqa: F401  for the tests here

PREFIX = "{django_jobs:1}"


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


def waits_on(server: redis.Redis) -> bool:
    """Say whether a worker has nothing to do and is fed by this Redis: it goes at full speed again."""
    return bool(server.exists(f"{PREFIX}:epoch")) and any(client["cmd"] == "blpop" for client in server.client_list())


def enqueue_for(seconds: float) -> None:
    """Enqueue short jobs for so long, as a busy site does."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        tasks.log_start_and_end.enqueue_many([{"seconds": 0.005}] * 3)
        time.sleep(0.03)


@pytest.fixture
def all_is_well(log, redis_clean):
    """A function that waits until nothing is wrong with any job, and fails when that gets no better for so long."""

    def check(seconds: float = 30, server: redis.Redis = redis_clean) -> None:
        best, since = len(violations(log, server)), time.monotonic()
        while wrong := violations(log, server):
            if len(wrong) < best:
                best, since = len(wrong), time.monotonic()
            assert time.monotonic() < since + seconds, wrong[:10]
            time.sleep(0.2)

    return check
