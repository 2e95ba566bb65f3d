"""Pruning: what is kept no longer goes, in bounded steps, and nothing else does."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from uuid import uuid4

import pytest

from django_jobs import moves
from django_jobs.models import Attempt, Job, Schedule, ScheduleRun, Traceback, Worker, db_now
from django_jobs.scheduler.prune import prune, tidy

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)
MODULE = import_module("django_jobs.scheduler.prune")  # the package has a function of that name


def finished(state: str, *, prune_in: timedelta | None, **values) -> Job:
    now = db_now()
    prune_at = None if prune_in is None else now + prune_in
    return Job.objects.create(task_path="a.b", state=state, finished_at=now, prune_at=prune_at, **values)


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_finished_jobs_go_when_their_time_is_over_with_their_attempts(state):
    over, kept = finished(state, prune_in=-DAY), finished(state, prune_in=DAY)
    for job in (over, kept):
        Attempt.objects.create(job=job, number=1, kind="failed")

    assert prune() == 1

    assert list(Job.objects.all()) == [kept]
    assert list(Attempt.objects.values_list("job", flat=True)) == [kept.pk]


def test_jobs_kept_for_ever_stay():
    finished("failed", prune_in=None)

    assert prune() == 0


def test_a_job_that_was_queued_again_stays():
    job = finished("failed", prune_in=-DAY)
    moves.requeue(Job.objects.filter(pk=job.pk))

    assert prune() == 0


def test_one_look_deletes_a_bounded_number(monkeypatch):
    monkeypatch.setattr(MODULE, "CHUNK", 2)
    monkeypatch.setattr(MODULE, "MAX_CHUNKS", 3)
    for _number in range(8):
        finished("failed", prune_in=-DAY)

    assert prune() == 6
    assert prune() == 2


def test_old_runs_go_but_the_last_ones_of_a_schedule():
    now = db_now()
    yearly = Schedule.objects.create(name="yearly", task_path="a.b", cron="0 0 1 1 *")
    daily = Schedule.objects.create(name="daily", task_path="a.b", cron="0 0 * * *")
    for number in range(12):
        ScheduleRun.objects.create(schedule=yearly, due_at=now - (400 + number) * DAY)
    for number in range(40):
        ScheduleRun.objects.create(schedule=daily, due_at=now - number * DAY)

    tidy()

    assert yearly.runs.count() == 10
    assert min(yearly.runs.values_list("due_at", flat=True)) == now - 409 * DAY
    assert daily.runs.count() == 30


def worker(**values) -> Worker:
    until = values["beat_at"] + timedelta(seconds=6)
    return Worker.objects.create(id=uuid4(), host="web-1", pid=1, alive_until=until, **values)


def test_workers_go_a_day_after_they_ended():
    long_ago, lately = db_now() - 2 * DAY, db_now()
    worker(beat_at=long_ago, stopped_at=long_ago)
    worker(beat_at=long_ago, lost_at=long_ago)
    kept = {
        worker(beat_at=lately),
        worker(beat_at=lately, stopped_at=lately),
        worker(beat_at=long_ago),  # nobody has found it dead yet
    }

    tidy()

    assert set(Worker.objects.all()) == kept


def test_a_worker_that_seems_to_hold_a_job_waits_for_the_rescue():
    long_ago = db_now() - 2 * DAY
    holder = worker(beat_at=long_ago, lost_at=long_ago)
    Job.objects.create(task_path="a.b", state="running", worker=holder.pk)

    tidy()

    assert Worker.objects.filter(pk=holder.pk).exists()


def test_tracebacks_go_with_the_last_attempt_that_refers_to_them():
    job, long_ago = finished("failed", prune_in=DAY), db_now() - 2 * DAY
    Traceback.objects.create(fingerprint="orphan", text="x", created_at=long_ago)
    Traceback.objects.create(fingerprint="new", text="x")
    Traceback.objects.create(fingerprint="used", text="x", created_at=long_ago)
    Attempt.objects.create(job=job, number=1, kind="failed", fingerprint="used")

    tidy()

    assert set(Traceback.objects.values_list("pk", flat=True)) == {"new", "used"}
