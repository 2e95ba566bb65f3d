"""What is kept of an exception: the same for the same failure, whatever other threads tell of theirs."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from django_jobs.worker.failures import describe

THREADS, ROUNDS = 6, 300
SOURCE = compile("raise ValueError('no')", "from a loader", "exec")  # of no file, as in a zip archive


@pytest.fixture
def quick_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_fail_alike_at_the_same_time_leave_one_traceback(quick_switches):
    together = Barrier(THREADS)

    def fail(_) -> str:
        try:
            exec(SOURCE, dict(vars(linecache)))  # whose loader is asked for the source
        except ValueError as error:
            together.wait(20)
            return describe(error).traceback

    with ThreadPoolExecutor(THREADS) as pool:
        told = set()
        for _ in range(ROUNDS):
            linecache.clearcache()  # the source is loaded anew
            told.update(pool.map(fail, range(THREADS)))

    [text] = told
    assert linecache.__doc__.splitlines()[0] in text
