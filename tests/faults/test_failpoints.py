"""A crash at any named point of a job's way loses nothing, and runs nothing that must not run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from django_jobs import failpoints, states
from django_jobs.models import Job
from tests.app import tasks
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

MANAGE = Path(__file__).parent.parent / "manage.py"
IN_THE_CLIENT = ["after_insert", "before_push", "after_push"]
IN_A_CHILD = ["after_take", "after_claim", "before_body", "after_body", "before_record", "after_record"]
IN_THE_CLERK = [
    *("chore_fire", "chore_follow", "chore_promote", "chore_rescue", "chore_reconcile", "chore_expire"),
    *("chore_settle", "chore_prune"),
]
IN_SCHEDULES = ["schedules_computed"]  # tried in test_schedules.py


def produce(**environment: str) -> int:
    command = [sys.executable, str(MANAGE), "produce", "--count", "5"]
    return subprocess.run(command, env=os.environ | environment, capture_output=True, timeout=60).returncode


def test_every_failpoint_is_tried_here():
    elsewhere = {"atomic_before_commit", "atomic_after_commit"}  # in test_exactly_once.py
    elsewhere |= {"before_follow"}  # in tests/worker/test_following.py
    tried = {*IN_THE_CLIENT, *IN_A_CHILD, *IN_THE_CLERK, *IN_SCHEDULES, "chore_tidy", *elsewhere}

    assert tried == set(failpoints.NAMES)


@pytest.mark.parametrize("name", IN_THE_CLIENT)
def test_a_client_that_dies_leaves_whole_jobs_or_none(worker, log, once, all_is_well, name):
    worker().ready()

    code = produce(DJANGO_JOBS_FAILPOINT=f"{name}=crash!{once}")

    assert code == -9, "the failpoint was not reached"
    all_is_well()


@pytest.mark.parametrize("name", [*IN_A_CHILD, *IN_THE_CLERK])
def test_a_process_of_a_worker_that_dies_costs_no_job(worker, log, once, all_is_well, name):
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 30)

    running = worker(DJANGO_JOBS_FAILPOINT=f"{name}=crash!{once}")

    wait_for(Path(once).exists, 30, "the failpoint to be reached")
    all_is_well()
    assert not Job.objects.exclude(state=states.SUCCEEDED).exists()
    assert running.process.poll() is None


@pytest.mark.parametrize("name", [*IN_A_CHILD, "chore_reconcile"])
def test_a_process_that_raises_where_nobody_expects_it_costs_no_job(worker, log, once, all_is_well, name):
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 30)

    worker(DJANGO_JOBS_FAILPOINT=f"{name}=raise!{once}")

    wait_for(Path(once).exists, 30, "the failpoint to be reached")
    all_is_well()


def test_failpoints_do_nothing_unless_the_settings_allow_them(monkeypatch, settings):
    monkeypatch.setenv(failpoints.VARIABLE, "after_push=raise")
    settings.DJANGO_JOBS_ALLOW_FAILPOINTS = False

    failpoints._hit("after_push")

    settings.DJANGO_JOBS_ALLOW_FAILPOINTS = True
    with pytest.raises(failpoints.Failpoint):
        failpoints._hit("after_push")


def test_failpoints_cost_nothing_when_the_variable_is_not_set():
    assert failpoints.hit is failpoints._nothing
