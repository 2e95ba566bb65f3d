"""Real workers in real processes, for tests that look at them from outside."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from django_jobs.models import Job
from tests.app.models import Effect
from tests.services import wait_for

MANAGE = Path(__file__).parent.parent / "manage.py"


@pytest.fixture(autouse=True)
def patient(patience) -> None:
    """What a test enqueues is in Redis at once."""


class WorkerProcess:
    """One ``manage.py runworker``; its output goes to a file, so that nothing is lost when it dies."""

    def __init__(self, *arguments: str, **environment: str):
        self._file = tempfile.NamedTemporaryFile("w+", suffix=".log")  # noqa: SIM115  closed by close()
        self.process = subprocess.Popen(
            [sys.executable, str(MANAGE), *(arguments if "worker" in arguments[:2] else ("runworker", *arguments))],
            stdin=subprocess.DEVNULL,
            stdout=self._file,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            start_new_session=True,
        )

    @property
    def output(self) -> str:
        return Path(self._file.name).read_text()

    def ready(self) -> WorkerProcess:
        wait_for(lambda: "ready in" in self.output or self.process.poll() is not None, 20, "the worker to be ready")
        assert self.process.poll() is None, self.output
        return self

    def end(self, seconds: float = 30) -> int:
        """Wait until it ends by itself; return its exit code."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the worker did not end within {seconds} s:\n{self.output}") from None

    def stop(self, seconds: float = 30) -> int:
        """End it by SIGTERM; return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.end(seconds)

    def kill(self) -> None:
        """End it as a machine's failure would: all of it at once."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def children(self) -> list[int]:
        """Return the pids of its forked processes, by birth: the clerk first, then those that run bodies."""
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in path.read_text().split()]

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._file.close()


@pytest.fixture
def worker(redis_clean):
    """A function that starts a worker with the given arguments; all are killed at the end of the test."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **environment: str) -> WorkerProcess:
            process = WorkerProcess(*arguments, **environment)
            stack.callback(process.close)
            return process

        yield start


@pytest.fixture
def burst(worker):
    """A function that runs a worker until nothing is due, and returns it with its exit code in ``code``."""

    def run(*arguments: str, **environment: str) -> WorkerProcess:
        process = worker("--burst", *arguments, **environment)
        process.code = process.end()
        return process

    return run


def effects(prefix: str = "") -> list[str]:
    return sorted(Effect.objects.filter(key__startswith=prefix).values_list("key", flat=True))


def wait_for_effect(key: str, seconds: float = 15) -> None:
    wait_for(lambda: Effect.objects.filter(key=key).exists(), seconds, f"effect {key!r}")


def wait_for_state(job: Job, *states: str, seconds: float = 20) -> Job:
    def reached() -> bool:
        job.refresh()
        return job.state in states

    wait_for(reached, seconds, f"{job.name} to be {' or '.join(states)} (it is {job.state})")
    return job
