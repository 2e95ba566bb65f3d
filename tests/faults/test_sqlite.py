"""SQLite has one writer at a time: "database is locked" is an answer like any other, and passes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import pytest
from django.db import connection

from django_jobs import states
from django_jobs.models import Job, Worker
from tests.app import fault_tasks, tasks
from tests.faults.invariants import read_log
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.sqlite]


@contextlib.contextmanager
def locked() -> Iterator[None]:
    """Be the one writer."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        try:
            yield
        finally:
            cursor.execute("ROLLBACK")


def test_a_database_that_is_locked_for_longer_than_a_lease_costs_no_job_and_no_second_start(
    worker, log, all_is_well, tmp_path
):
    long = [fault_tasks.log_until.enqueue(str(tmp_path / name)) for name in "ab"]
    workers = [worker(DJANGO_JOBS_TEST_SQLITE_TIMEOUT="0.2") for _ in "ab"]
    wait_for(lambda: len(read_log(log).starts) == 2, 30, "a job in each worker")
    time.sleep(7)  # a lease and a bit: from now on each may judge the other
    waiting = tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 20)

    with locked():
        (tmp_path / "a").touch()
        wait_for(lambda: any("database is locked" in running.output for running in workers), 20, "the word about it")
        time.sleep(7)
    (tmp_path / "b").touch()
    all_is_well()

    assert {len(read_log(log).starts), sum(read_log(log).starts.values())} == {len(waiting) + len(long)}
    assert Job.objects.filter(state=states.SUCCEEDED, losses=0, attempt=1).count() == len(waiting) + len(long)
    assert not Worker.objects.filter(lost_at__isnull=False).exists()
    assert [running.process.poll() for running in workers] == [None, None]
