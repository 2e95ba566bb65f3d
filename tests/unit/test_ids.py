"""Ids sort by the time they were made, and no two are the same."""

from __future__ import annotations

import os
import select
import signal
import sys
import threading
import time
from uuid import RFC_4122, UUID

import pytest

from django_jobs import ids
from django_jobs.ids import job_id


def made_in_a_fork(count: int) -> list[UUID]:
    """Return ids made by a forked copy of this process."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.write(writing, b"".join(job_id().bytes for _ in range(count)))
        finally:
            os._exit(0)
    os.close(writing)
    data = b""
    with open(reading, "rb", buffering=0) as pipe:
        while select.select([pipe], [], [], 10)[0] and (part := pipe.read(65536)):
            data += part
    os.kill(pid, signal.SIGKILL)  # it may hang
    os.waitpid(pid, 0)
    return [UUID(bytes=data[place : place + 16]) for place in range(0, len(data), 16)]


def milliseconds(id: UUID) -> int:
    return id.int >> 80


def test_ids_are_uuids_of_version_7():
    one = job_id()

    assert (one.version, one.variant) == (7, RFC_4122)


def test_ids_begin_with_the_milliseconds_of_their_making():
    before = time.time_ns() // 1_000_000
    one = job_id()
    after = time.time_ns() // 1_000_000

    assert before <= milliseconds(one) <= after


def test_ids_of_one_process_only_grow():
    made = [job_id() for _ in range(20_000)]

    assert made == sorted(set(made))


def test_ids_grow_although_the_clock_goes_back(monkeypatch):
    before = job_id()
    monkeypatch.setattr(ids.time, "time_ns", lambda: 0)

    after = job_id()

    assert after > before


def test_text_and_bytes_sort_as_the_ids_do():
    made = [job_id() for _ in range(1_000)]

    assert sorted(made, key=str) == sorted(made, key=lambda id: id.bytes) == made


@pytest.fixture
def switching():
    """Let threads take turns as often as can be."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_make_different_ids_that_grow_even_in_one_moment(switching, monkeypatch):
    monkeypatch.setattr(ids.time, "time_ns", lambda: 0)
    made: list[list[UUID]] = []
    start = threading.Barrier(8)

    def make():
        start.wait()
        made.append([job_id() for _ in range(2_000)])

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({id.int >> 64 for ids_of_one in made for id in ids_of_one}) == 16_000  # even without their chance
    assert all(ids_of_one == sorted(ids_of_one) for ids_of_one in made)


def test_a_forked_process_makes_other_ids():
    job_id()

    child, sibling, own = made_in_a_fork(2_000), made_in_a_fork(2_000), [job_id() for _ in range(2_000)]

    assert len({*child, *sibling, *own}) == 6_000


def test_a_process_forked_while_a_thread_makes_an_id_makes_ids():
    with ids._lock:
        child = made_in_a_fork(10)

    assert len(child) == 10


def test_a_forked_process_does_not_inherit_a_clock_that_ran_ahead(monkeypatch):
    monkeypatch.setattr(ids, "_last", ids._ticks(time.time_ns() + 3600 * 10**9))

    [inherited] = made_in_a_fork(1)

    assert milliseconds(inherited) <= time.time_ns() // 1_000_000
