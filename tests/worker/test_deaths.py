"""Processes that die: their jobs run again, and nobody who did not kill them is blamed."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from datetime import timedelta

import pytest
from django.db import connections

from django_jobs import states
from django_jobs.conf import LEASE_SECONDS
from django_jobs.models import Attempt, Job, Worker, db_now
from tests.app import tasks
from tests.services import wait_for
from tests.worker.conftest import effects, wait_for_effect, wait_for_state

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("task", [tasks.kill_own_process, tasks.segfault, tasks.exit_hard], ids=lambda task: task.name)
def test_a_job_that_kills_its_process_fails_beyond_max_losses_with_the_cause(worker, task):
    poison = task.enqueue()
    innocents = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 40)

    worker()
    poison.wait(60)
    for job in innocents:
        job.wait(20)

    assert (poison.state, poison.reason, poison.losses, poison.attempt) == (states.FAILED, "worker died", 4, 4)
    assert "its process died" in poison.last_error
    assert [attempt.kind for attempt in poison.errors] == [Attempt.Kind.LOST] * 4
    assert {(job.state, job.losses) for job in innocents} == {(states.SUCCEEDED, 0)}


def test_a_killed_childs_jobs_are_queued_again_within_a_second(worker):
    job = tasks.sleep.enqueue(60, key="long")
    running = worker().ready()
    wait_for_effect("long started")
    wait_for(lambda: Job.objects.get(pk=job.pk).started_at, 20, "the clerk to be at work")
    _, child = running.children()

    os.kill(child, signal.SIGKILL)
    killed = time.monotonic()
    wait_for(lambda: Attempt.objects.filter(job=job.pk).exists(), 10, "the loss to be recorded")

    assert time.monotonic() - killed < 1
    wait_for(lambda: effects("long") == ["long started", "long started"], 10, "the second start")
    job.refresh()
    assert (job.losses, job.attempt) == (1, 2)


def all_steady() -> bool:
    """Say whether all workers have been there for so long that they judge each other."""
    return db_now() - max(Worker.objects.values_list("started_at", flat=True)) > timedelta(seconds=LEASE_SECONDS + 1)


def test_a_killed_workers_jobs_run_elsewhere_within_ten_seconds(worker):
    job = tasks.sleep.enqueue(60, key="long")
    first = worker().ready()
    wait_for_effect("long started")
    worker().ready()
    wait_for(all_steady, 30, "both to have beaten for a lease")

    first.kill()
    killed = time.monotonic()
    wait_for(lambda: effects("long") == ["long started", "long started"], 15, "the second start")

    assert time.monotonic() - killed <= 10
    job.refresh()
    assert [attempt.kind for attempt in job.errors] == [Attempt.Kind.LOST]
    assert Worker.objects.filter(lost_at__isnull=False).count() == 1


@pytest.mark.once
def test_killing_the_supervisor_alone_ends_all_of_it(worker):
    running = worker().ready()
    pids = running.children()

    running.process.kill()

    wait_for(lambda: not any(os.path.exists(f"/proc/{pid}/fd/0") for pid in pids), 10, "its processes to end")


def test_a_killed_clerk_is_replaced_and_no_job_notices(worker):
    running = worker().ready()
    clerk, child = running.children()

    os.kill(clerk, signal.SIGKILL)
    wait_for(lambda: len(running.children()) == 2 and clerk not in running.children(), 10, "another clerk")

    job = tasks.add.enqueue(1, 1)
    job.wait(20)
    assert job.state == states.SUCCEEDED
    assert child in running.children()


@pytest.mark.once
def test_a_child_stops_whichever_of_its_threads_the_signal_interrupts(worker):
    running = worker().ready()
    _, child = running.children()
    [thread] = {int(name) for name in os.listdir(f"/proc/{child}/task")} - {child}

    ctypes.CDLL(None).tgkill(child, thread, signal.SIGTERM)  # as may happen to one that was frozen, or has many threads

    wait_for(lambda: child not in running.children(), 10, "the child to end")


@pytest.mark.once
def test_a_body_that_holds_the_interpreter_does_not_look_dead(worker):
    job = tasks.hold_the_interpreter.enqueue(9)
    worker().ready()
    worker().ready()

    job.wait(30)

    assert (job.state, job.attempt, job.losses) == (states.SUCCEEDED, 1, 0)


def test_a_worker_that_was_stopped_for_longer_than_its_lease_overwrites_nobody(worker):
    job = tasks.sleep.enqueue(8, key="frozen")
    first = worker().ready()
    wait_for_effect("frozen started")
    os.killpg(first.process.pid, signal.SIGSTOP)
    second = worker().ready()
    wait_for_state(job, states.RUNNING)
    wait_for(lambda: effects("frozen") == ["frozen started"] * 2, 15, "the second start")
    holder = Job.objects.get(pk=job.pk).worker

    os.killpg(first.process.pid, signal.SIGCONT)
    job.wait(30)

    assert (job.state, job.claim, job.attempt) == (states.SUCCEEDED, 2, 2)
    assert job.worker == holder
    assert second.process.poll() is None


def test_what_a_frozen_worker_was_handed_with_its_wake_up_runs_elsewhere_within_ten_seconds(worker, redis_clean):
    frozen, other = worker().ready(), worker().ready()
    wait_for(all_steady, 30, "both to have beaten for a lease")
    its_takers = f"*:taken:{Worker.objects.get(pid=frozen.process.pid).pk.hex}:*"
    is_ever_handed = connections["default"].vendor != "sqlite"  # where it might not be missed for long
    jobs, is_handed = [], False

    for _ in range(5):  # its wait may have come to its end the moment that it was frozen
        wait_for(lambda: redis_clean.info("clients")["blocked_clients"] == 2, 10, "both to wait")
        os.killpg(frozen.process.pid, signal.SIGSTOP)
        stopped = time.monotonic()
        while not is_handed and time.monotonic() < stopped + 1:
            jobs.append(tasks.add.enqueue(1, 1))
            time.sleep(0.05)
            is_handed = any(redis_clean.scan_iter(match=its_takers))
        if is_handed or not is_ever_handed:
            break
        os.killpg(frozen.process.pid, signal.SIGCONT)

    assert is_handed == is_ever_handed
    for job in jobs:
        job.wait(15)
    assert time.monotonic() - stopped <= 10
    os.killpg(frozen.process.pid, signal.SIGCONT)
    assert {(job.state, job.attempt) for job in jobs} == {(states.SUCCEEDED, 1)}
    assert frozen.stop() == other.stop() == 0


@pytest.mark.postgresql
def test_outcomes_survive_a_restart_of_the_database(worker, postgres, tmp_path):
    job = tasks.sleep_quietly.enqueue(3, str(tmp_path / "started"))
    running = worker().ready()
    wait_for((tmp_path / "started").exists, 20, "the start")

    postgres.restart("immediate")
    connections.close_all()
    job.wait(30)

    assert (job.state, job.return_value, job.attempt) == (states.SUCCEEDED, "slept", 1), running.output


def test_redis_flushed_in_mid_load_loses_nothing(worker, redis_clean):
    jobs = tasks.effect.enqueue_many([{"key": f"k{number}"} for number in range(300)])
    worker().ready()

    for _ in range(5):
        redis_clean.flushall()
        jobs += tasks.effect.enqueue_many([{"key": f"k{len(jobs) + number}"} for number in range(20)])
        redis_clean.flushall()
        time.sleep(0.3)
    wait_for(lambda: not Job.objects.exclude(state=states.SUCCEEDED).exists(), 60, "all jobs")

    assert len(effects("k")) == len(jobs) == len(set(effects("k")))


def test_with_redis_away_workers_go_on_from_the_database(worker, valkey):
    running = worker().ready()
    valkey.kill()

    during = tasks.add.enqueue(1, 1)
    during.wait(20)
    valkey.start()
    after = tasks.add.enqueue(1, 1)
    after.wait(20)

    assert (during.state, after.state) == (states.SUCCEEDED, states.SUCCEEDED)
    assert running.process.poll() is None


@pytest.mark.once
def test_a_worker_that_cannot_start_gives_up_with_code_3(worker):
    running = worker(DJANGO_JOBS_TEST_BREAK_CHILDREN="1")

    assert running.end(60) == 3
    assert "gave up" in running.output
