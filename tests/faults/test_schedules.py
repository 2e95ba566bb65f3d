"""Each due moment of a schedule makes exactly one job, whatever dies, stops or is away.

Schedules that make up for every moment leave no excuse: between the first run and the last none may be missing.
``make schedules MINUTES=5 SEED=7`` is the long run under kill -9, with eight workers.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from django.db import DatabaseError, connections
from django.db.models import F, Max

from django_jobs import states
from django_jobs.models import Job, Schedule, ScheduleRun, db_now
from django_jobs.scheduler.sync import REMOVED
from tests.app import tasks
from tests.app.models import Effect
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
SECONDS = float(os.environ.get("SCHEDULES_SECONDS") or 5)
SEED = int(os.environ.get("SCHEDULES_SEED") or random.SystemRandom().randrange(10**6))
WORKERS = 8 if SECONDS > 60 else 3
ONE_PROCESS = ("--processes", "0")


def every_second(number: int = 1, **values) -> list[Schedule]:
    """Make schedules that run every second and make up for all that they miss."""
    more = {"every": SECOND, "after_downtime": "all", "catch_up": 100} | values
    return [
        Schedule.objects.create(name=f"s{one}", task_path=tasks.add.module_path, args=[1, one], **more)
        for one in range(number)
    ]


def wrong(schedules: Iterable[Schedule]) -> list[str]:
    """Return what is wrong with the runs, in words."""
    found = []
    for one in schedules:
        one.refresh_from_db()
        runs = list(one.runs.order_by("due_at").values_list("due_at", "kind", "job"))
        jobs = list(Job.objects.filter(schedule=one).values_list("pk", flat=True))
        if sorted(jobs) != sorted(job for _, _, job in runs if job):
            found.append(f"{one}: {len(jobs)} jobs, {len(runs)} runs")
        found += [f"{one}: {due} is not a moment of it" for due, _, _ in runs if (due - one.anchor) % one.every]
        found += [
            f"{one}: nothing between {before[0]} and {after[0]}"
            for before, after in pairwise(runs)
            if after[0] - before[0] != one.every
        ]
        if runs and (one.last_due_at, one.run_count) != (runs[-1][0], len(runs)):
            found.append(f"{one}: it believes in {one.run_count} runs until {one.last_due_at}")
    return found


def runs_are_going_on(count: int = 3, seconds: float = 60) -> None:
    """Wait until so many more moments have made their jobs."""
    before = ScheduleRun.objects.count()
    wait_for(lambda: _count() >= before + count, seconds, "schedules to fire")


def _count() -> int:
    try:
        return ScheduleRun.objects.count()
    except DatabaseError:  # it is being restarted
        connections.close_all()
        return 0


def all_succeed() -> None:
    wait_for(lambda: not Job.objects.exclude(state=states.SUCCEEDED).exists(), 60, "all jobs to succeed")


def test_killed_workers_neither_lose_nor_double_a_moment(worker):
    print(f" [{WORKERS} workers, {SECONDS:g} s, seed {SEED}]", end="")
    chance, schedules = random.Random(SEED), every_second(10)
    workers = [worker(*ONE_PROCESS) for _ in range(WORKERS)]
    runs_are_going_on()

    end, kills = time.monotonic() + SECONDS, 0
    while time.monotonic() < end:
        number = chance.randrange(WORKERS)
        workers[number].kill()
        workers[number] = worker(*ONE_PROCESS)
        kills += 1
        time.sleep(1)
    runs_are_going_on()
    Schedule.objects.update(enabled=False)

    assert wrong(schedules) == []
    all_succeed()
    print(f" [{ScheduleRun.objects.count()} runs, {kills} kills, all well]", end="")


def test_a_worker_stopped_between_computing_and_inserting_keeps_nobody_from_it(worker, once):
    schedules = every_second(5)
    stopped = worker(*ONE_PROCESS, DJANGO_JOBS_FAILPOINT=f"schedules_computed=stop!{once}")
    wait_for(Path(once).exists, 60, "the failpoint to be reached")
    assert not ScheduleRun.objects.exists()

    worker(*ONE_PROCESS).ready()
    runs_are_going_on()
    os.kill(stopped.process.pid, signal.SIGCONT)  # it goes on with what it computed long ago
    runs_are_going_on()
    Schedule.objects.update(enabled=False)

    assert stopped.process.poll() is None
    assert wrong(schedules) == []


def test_a_database_that_restarts_costs_no_moment(worker, postgres):
    schedules = every_second(5)
    for _ in range(2):
        worker(*ONE_PROCESS)
    runs_are_going_on()

    postgres.restart("immediate")
    connections.close_all()
    wait_for(_count, 30, "the database to be back")
    runs_are_going_on(10)
    Schedule.objects.update(enabled=False)

    assert wrong(schedules) == []
    all_succeed()


@pytest.mark.parametrize(("policy", "expected"), [("once", 1), ("skip", 0), ("all", 3)])
def test_three_hours_of_downtime(worker, policy, expected):
    (one,) = every_second(every=HOUR, after_downtime=policy)
    first = db_now() - 2.5 * HOUR
    Schedule.objects.update(created_at=first - HOUR, next_due_at=first)

    worker(*ONE_PROCESS)
    wait_for(lambda: Schedule.objects.get().next_due_at > db_now(), 60, "the schedule to go on")

    one.refresh_from_db()
    assert Job.objects.filter(schedule=one).count() == expected
    assert one.next_due_at == first + 3 * HOUR
    assert one.last_due_at == first + 2 * HOUR


def test_with_redis_away_at_its_time_a_job_is_made_and_run(worker, valkey):
    every_second(1, every=HOUR)
    worker(*ONE_PROCESS).ready()
    valkey.kill()

    Schedule.objects.update(next_due_at=db_now())

    wait_for(lambda: Job.objects.filter(state=states.SUCCEEDED).count() == 1, 60, "the job to run without Redis")
    assert ScheduleRun.objects.count() == 1


def test_machines_whose_clocks_are_hours_apart_agree(worker):
    schedules = every_second(3)
    for wrong_by in ("3600", "-3600"):
        worker(*ONE_PROCESS, DJANGO_JOBS_TEST_IMPORT="tests.app.wrong_clock", DJANGO_JOBS_TEST_CLOCK=wrong_by)
    runs_are_going_on(15)
    Schedule.objects.update(enabled=False)

    assert wrong(schedules) == []
    early = ScheduleRun.objects.filter(created_at__lt=F("due_at"))
    assert not early.exists()
    late = ScheduleRun.objects.annotate(late=F("created_at") - F("due_at")).aggregate(Max("late"))["late__max"]
    print(f" [late by at most {late.total_seconds():.2f} s]", end="")


def test_a_schedule_of_the_code_is_made_by_workers_that_have_it_and_switched_off_by_those_that_have_not(worker):
    first = worker(*ONE_PROCESS, DJANGO_JOBS_TEST_MODULES="tasks scheduled_tasks")
    wait_for(Effect.objects.filter(key="by schedule").exists, 60, "the scheduled task to run")
    one = Schedule.objects.get(key="tests.app.scheduled_tasks.scheduled_effect")
    assert one.overrides == []
    first.stop()

    worker(*ONE_PROCESS)  # whose code has it no longer

    wait_for(lambda: not Schedule.objects.get(pk=one.pk).enabled, 60, "the schedule to be switched off")
    one.refresh_from_db()
    assert (one.is_removed, one.note) == (True, REMOVED)


def test_an_edit_takes_effect_without_a_restart(worker):
    (one,) = every_second(1, every=HOUR)
    worker(*ONE_PROCESS).ready()

    one.every = SECOND
    one.save()

    runs_are_going_on(2)
    assert db_now() - one.runs.earliest("due_at").created_at < timedelta(minutes=1)
