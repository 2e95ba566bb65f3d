"""Duties: when the chores are looked at, and how often the database is asked."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from importlib import import_module
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import scheduler, states
from django_jobs.models import Job, Schedule, db_now
from django_jobs.scheduler.duties import QUIET_AFTER, QUIET_TURN_SECONDS, TURN_SECONDS
from tests.app.tasks import add

pytestmark = pytest.mark.django_db
LATER = 0.9 * TURN_SECONDS  # than the next look


@pytest.fixture
def duties(redis_clean, monkeypatch):
    """The chores of a worker that has just looked at them all, and found nothing, however long that took."""
    monkeypatch.setattr(import_module("django_jobs.scheduler.duties"), "VAIN_SHARE", 0)
    duties = scheduler.duties(uuid4())
    for _ in range(2):
        turn(duties)
        time.sleep(0.05)
    return duties


def turn(duties) -> float:
    return duties.turn(is_steady=lambda: True)


def turn_after(duties, seconds: float) -> float:
    time.sleep(max(0.0, seconds))
    return turn(duties)


def waited(duties, pause: float, is_done: Callable[[], bool]) -> float:
    """Turn until it is done; return the seconds for which that was told to wait, however long it took."""
    total = 0.0
    while not is_done() and total < 5:
        total += pause
        pause = turn_after(duties, pause)
    return total


def test_with_nothing_to_do_one_statement_a_second_asks_about_all(duties):
    end = time.monotonic() + 3 * TURN_SECONDS

    with CaptureQueriesContext(connection) as queries:
        while time.monotonic() < end:
            turn_after(duties, turn(duties))

    asked = [query["sql"] for query in queries if query["sql"].startswith("SELECT")]
    assert 1 <= len(asked) <= 4
    assert all("django_jobs_schedule" in one and "expires_at" in one for one in asked)


def test_when_nothing_was_due_for_a_while_looks_are_rarer_until_something_is(duties):
    duties._found_at -= QUIET_AFTER
    turn_after(duties, turn(duties))
    assert TURN_SECONDS < turn(duties) <= QUIET_TURN_SECONDS < 2

    add.using(run_after=db_now()).enqueue(1, 2)
    turn_after(duties, turn(duties))

    assert Job.objects.get().state == states.QUEUED
    assert turn(duties) <= TURN_SECONDS


def test_what_is_due_before_the_next_look_is_done_at_its_moment(duties):
    soon = turn(duties)
    job = add.using(run_after=db_now() + timedelta(seconds=soon + LATER)).enqueue(1, 2)

    pause = turn_after(duties, soon)
    job.refresh()
    assert (job.state, 0 < pause <= LATER) == (states.SCHEDULED, True)

    assert waited(duties, pause, Job.objects.filter(state=states.QUEUED).exists) <= pause + 0.1


def test_a_schedule_is_due_at_its_moment_too(duties):
    soon = turn(duties)
    Schedule.objects.create(name="once", task_path=add.module_path, kwargs={"a": 1, "b": 2}, cron="0 0 1 1 *")
    Schedule.objects.update(next_due_at=db_now() + timedelta(seconds=soon + LATER))

    pause = turn_after(duties, soon)
    assert 0 < pause <= LATER

    assert waited(duties, pause, Schedule.objects.filter(run_count=1).exists) <= pause + 0.1


def test_work_that_comes_is_looked_at_again_sooner(duties):
    add.using(run_after=db_now()).enqueue(1, 2)

    pause = turn_after(duties, turn(duties))

    assert pause <= 0.5


def test_a_chore_is_done_by_whoever_has_the_lease_and_by_the_next_one_as_soon_as_that_one_leaves(duties):
    other = scheduler.duties(uuid4())
    job = add.using(run_after=db_now()).enqueue(1, 2)
    if connection.vendor != "sqlite":  # where everybody does the chores
        turn(other)
        job.refresh()
        assert job.state == states.SCHEDULED

    duties.leave()
    turn(other)

    job.refresh()
    assert job.state == states.QUEUED
