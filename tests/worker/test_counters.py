"""Counters: what became of jobs by the minute, gathered in memory and added to the database in batches."""

from __future__ import annotations

import time
from collections import Counter as Sums
from datetime import UTC, datetime, timedelta
from itertools import repeat
from threading import Thread

import pytest
from django.db import DatabaseError, connection, connections
from django.test.utils import CaptureQueriesContext

from django_jobs import states
from django_jobs.models import Counter, Job, Worker, database, db_now
from django_jobs.models.counter import HOUR, MINUTE, Cell
from django_jobs.moves import Outcome
from django_jobs.scheduler.counters import prune_hours, roll_minutes, roll_up
from django_jobs.sql import portable, statements
from django_jobs.worker import tally
from django_jobs.worker.tally import Tally
from tests.app import tasks
from tests.services import wait_for
from tests.worker.conftest import wait_for_state

MOMENT = datetime(2026, 11, 22, 10, 30, tzinfo=UTC)


def sums() -> dict[str, int]:
    found: Sums = Sums()
    for one in Counter.objects.all():
        found[one.kind] += one.count
    return dict(found)


def outcome(transition=states.SUCCEED, *, queue="default", ran=0.3, waited=1.5) -> tuple[Outcome, float]:
    """Return an outcome, and when its job was claimed."""
    claimed = 100.0
    job = Job(queue_name=queue, attempt=1, enqueued_at=MOMENT, claimed_at=MOMENT + timedelta(seconds=waited))
    return Outcome(transition=transition, job=job, started=claimed, finished=claimed + ran), claimed


@pytest.mark.django_db
def test_what_was_counted_is_added_with_its_minute_and_times():
    counted = Tally()
    counted.count(*outcome())
    counted.count(*outcome())
    counted.count(*outcome(states.FAIL, queue="mail", ran=70, waited=0))

    counted.flush()

    rows = Counter.objects.values_list("since", "seconds", "queue_name", "kind", "bucket", "count")
    later = MOMENT + timedelta(minutes=1)
    assert sorted(rows) == [
        (MOMENT, 60, "default", "run", 8, 2),  # 0.2 to 0.5 s
        (MOMENT, 60, "default", "succeeded", 0, 2),
        (MOMENT, 60, "default", "wait", 10, 2),  # 1 to 2 s
        (later, 60, "mail", "failed", 0, 1),
        (later, 60, "mail", "run", 15, 1),
        (later, 60, "mail", "wait", 0, 1),
    ]


@pytest.mark.django_db
def test_a_retried_attempt_waited_from_when_it_was_due():
    again, claimed = outcome()
    again.job.attempt, again.job.run_after = 2, MOMENT + timedelta(seconds=1)
    by_hand, _ = outcome()
    by_hand.job.attempt = 2  # when it was retried by hand is not known

    counted = Tally()
    counted.count(again, claimed)
    counted.count(by_hand, claimed)
    counted.flush()

    assert list(Counter.objects.filter(kind="wait").values_list("bucket", "count")) == [(8, 1)]  # half a second


@pytest.mark.django_db
def test_nothing_is_asked_of_the_database_while_nothing_was_counted_or_it_is_not_time():
    counted = Tally()
    with CaptureQueriesContext(connection) as queries:
        counted.flush_if_due()
        counted.flush()
        counted.count(*outcome())
        counted.flush_if_due()

    assert len(queries) == 0


@pytest.mark.django_db
def test_counts_are_kept_while_the_database_refuses_them(monkeypatch):
    counted = Tally()
    counted.count(*outcome())

    def refuse(*_):
        raise DatabaseError("full")

    with monkeypatch.context() as broken:
        broken.setattr(statements(database()), "add_counts", refuse)
        counted.flush()
    assert sums() == {}

    counted.flush()
    assert sums() == {"succeeded": 1, "run": 1, "wait": 1}


def test_no_more_is_kept_than_fits(monkeypatch):
    monkeypatch.setattr(tally, "MOST_CELLS", 2)
    monkeypatch.setattr(tally, "statements", lambda alias: (_ for _ in ()).throw(DatabaseError("away")))
    counted = Tally()
    counted.count(*outcome())

    counted.flush()

    assert not counted._counts


@pytest.mark.once
def test_counting_takes_microseconds():
    counted = Tally()
    one, claimed = outcome()

    best = min(_seconds_for(counted, one, claimed, 2_000) for _ in range(5))

    assert best / 2_000 < 50e-6  # about 3 us on a quiet machine


def _seconds_for(counted, one, claimed, times) -> float:
    started = time.perf_counter()
    for _ in repeat(None, times):
        counted.count(one, claimed)
    return time.perf_counter() - started


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("sql", [statements, lambda alias: portable], ids=["own", "portable"])
def test_several_workers_add_to_the_same_counters_at_once(sql):
    cells = [Cell(MOMENT, MINUTE, f"q{n}", "succeeded", 0) for n in range(20)]
    errors = []

    def add(order: list[Cell]) -> None:
        try:
            for _ in range(5):
                sql(database()).add_counts(database(), dict.fromkeys(order, 1))
        except Exception as error:
            errors.append(error)
        finally:
            connections.close_all()

    threads = [Thread(target=add, args=[order]) for order in (cells, cells[::-1], cells[10:] + cells[:10])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert list(Counter.objects.values_list("count", flat=True)) == [15] * 20


@pytest.mark.django_db
def test_old_minutes_become_hours_and_old_hours_go(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"KEEP_COUNTERS": timedelta(days=2)}
    now = db_now().replace(minute=0, second=0, microsecond=0)
    yesterday, long_ago = now - timedelta(days=1), now - timedelta(days=3)
    cells = {
        Cell(now, MINUTE, "q", "failed", 0): 1,
        Cell(yesterday + timedelta(minutes=3), MINUTE, "q", "failed", 0): 2,
        Cell(yesterday + timedelta(minutes=4), MINUTE, "q", "failed", 0): 3,
        Cell(yesterday, HOUR, "q", "failed", 0): 10,
        Cell(long_ago, HOUR, "q", "failed", 0): 100,
    }
    statements(database()).add_counts(database(), cells)

    assert roll_up() == 3
    assert roll_up() == 0

    rows = Counter.objects.order_by("since").values_list("since", "seconds", "count")
    assert list(rows) == [(yesterday, HOUR, 15), (now, MINUTE, 1)]


@pytest.mark.django_db
def test_counters_are_kept_for_ever_if_wanted(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"KEEP_COUNTERS": None}
    Counter.objects.create(since="2020-01-01T00:00Z", seconds=HOUR, queue_name="q", kind="failed", count=1)

    assert (roll_minutes(), prune_hours()) == (0, 0)


@pytest.mark.django_db(transaction=True)
def test_a_worker_counts_what_it_did(burst):
    tasks.add.enqueue_many([{"a": 1, "b": 1}] * 20)
    tasks.fail.enqueue()

    burst()

    assert sums() == {"succeeded": 20, "failed": 1, "run": 21, "wait": 21}


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgresql  # on SQLite an idle worker beats once a minute
def test_a_quiet_worker_takes_nothing_until_it_is_wanted_again(worker):
    worker().ready()
    wait_for_state(tasks.add.enqueue(1, 1), states.SUCCEEDED)

    Worker.objects.update(wish="quiet")
    told = db_now()
    wait_for(lambda: Worker.objects.get().beat_at > told, 60, "a beat")
    job = tasks.add.enqueue(1, 1)
    time.sleep(1.5)
    job.refresh()
    assert job.state == states.QUEUED

    Worker.objects.update(wish="")
    wait_for_state(job, states.SUCCEEDED, seconds=60)


@pytest.mark.django_db(transaction=True)
@pytest.mark.postgresql
@pytest.mark.parametrize("processes", ["0", "1"])
def test_a_worker_that_is_wanted_to_stop_ends_in_good_order(worker, processes):
    process = worker("--processes", processes).ready()
    wait_for(lambda: Worker.objects.exists(), 30, "the worker's row")

    Worker.objects.update(wish="stop")

    assert process.end(60) == 0
    assert Worker.objects.get().stopped_at
    assert Worker.objects.get().info["memory_mb"] > 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.once
def test_a_worker_says_that_it_goes_on_without_redis(worker):
    process = worker(DJANGO_JOBS_TEST_REDIS="redis://127.0.0.1:1/0").ready()

    wait_for(lambda: Worker.objects.filter(info__contains="without_redis_s").exists(), 60, "the worker to say so")

    wait_for_state(tasks.add.enqueue(1, 1), states.SUCCEEDED, seconds=60)
    assert "refused the connection" in process.output
