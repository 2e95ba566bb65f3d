"""Workers among broken bodies, locked rows, servers that are away and foreign values: what a review found."""

from __future__ import annotations

import os
import signal
import time
from uuid import uuid4

import psutil
import pytest
from django.db import connections
from django.db.models import Sum

from django_jobs import broker, moves, retry, states
from django_jobs.ids import job_id
from django_jobs.models import Attempt, DbNow, Job, Worker
from django_jobs.moves import Failure, Held, Outcome
from django_jobs.tasks import TaskContext, registry
from django_jobs.worker.executor import Work, execute
from django_jobs.worker.interrupts import Interrupter
from django_jobs.worker.recorder import Recorder
from django_jobs.worker.slots import Table
from tests.app import hardening_tasks, tasks
from tests.disturb import locked, refusing
from tests.services import wait_for
from tests.worker.conftest import effects, wait_for_effect, wait_for_state

pytestmark = pytest.mark.django_db(transaction=True)


# Bodies that are unkind


@pytest.mark.once
@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_body_that_removes_its_working_folder_harms_neither_itself_nor_the_next_one(worker, threads):
    unkind = hardening_tasks.remove_working_folder.enqueue("folder")
    running = worker("--threads", threads)
    unkind.wait(20)

    following = tasks.add.enqueue(1, 1)
    following.wait(20)

    assert (unkind.state, unkind.losses, effects("folder")) == (states.SUCCEEDED, 0, ["folder"])
    assert following.state == states.SUCCEEDED
    assert "ended" not in running.output


@pytest.mark.once
def test_what_an_error_or_a_backoff_raises_itself_fails_only_the_job(worker):
    unkind = [
        hardening_tasks.discard_without_words.enqueue(),
        hardening_tasks.fail_without_words.enqueue(),
        hardening_tasks.fail_with_a_backoff_that_exits.enqueue(),
    ]
    kind = tasks.add.enqueue(1, 1)

    running = worker()
    for job in [*unkind, kind]:
        job.wait(20)

    assert [(job.state, job.attempt, job.losses) for job in unkind] == [(states.FAILED, 1, 0)] * 3
    assert kind.state == states.SUCCEEDED
    assert "ended" not in running.output


def test_progress_that_is_no_number_fails_only_its_own_job(worker, tmp_path):
    unkind = hardening_tasks.tell_strange_progress.enqueue(str(tmp_path / "strange"))
    kind = hardening_tasks.hold.enqueue(str(tmp_path / "kind"))
    running = worker("--threads", "2")
    wait_for((tmp_path / "kind.started").exists, 20, "the other body")

    unkind.wait(20)
    (tmp_path / "kind").touch()
    kind.wait(20)

    assert (unkind.state, unkind.claim, unkind.losses) == (states.FAILED, 1, 0)
    assert (kind.state, kind.claim, kind.losses) == (states.SUCCEEDED, 1, 0)
    assert "ended" not in running.output


def test_an_atomic_body_refused_at_commit_fails_once_and_leaves_nothing(worker):
    job = hardening_tasks.break_a_deferred_constraint.enqueue("refused")

    worker()
    job.wait(20)

    assert (job.state, job.claim, job.attempt, job.failures) == (states.FAILED, 1, 1, 1)
    assert [attempt.exception_class for attempt in job.errors] == ["django.db.utils.IntegrityError"]
    assert effects("refused") == []


def test_an_atomic_body_whose_job_is_another_workers_by_then_is_undone_and_not_counted():
    job = tasks.atomic_effect.enqueue("stale")
    [claimed] = moves.claim([job.pk], worker=job_id(), slot=1)
    Job.objects.filter(pk=job.pk).update(claim=claimed.claim + 1)
    area, recorder = Table(areas=1, capacity=1).areas[0], Recorder()
    work = Work(job=claimed, task=registry.get(job.task_path), context=TaskContext(claimed), area=area, index=0)

    work.outcome = execute(work, Interrupter())
    recorder.add(work)
    done = recorder.flush()

    assert done == [(work, False)]
    assert effects("stale") == []
    assert Job.objects.get(pk=job.pk).state == states.RUNNING


@pytest.mark.once
def test_an_exit_in_a_task_of_an_async_body_fails_its_job_and_the_loop_goes_on(worker):
    unkind = hardening_tasks.exit_in_a_task_of_its_own.enqueue()
    running = worker()
    unkind.wait(20)

    following = tasks.add_async.enqueue(1, 2)
    following.wait(20)

    assert (unkind.state, unkind.attempt, unkind.losses) == (states.FAILED, 1, 0)
    assert (following.state, following.return_value) == (states.SUCCEEDED, 3)
    assert "another takes its place" not in running.output


@pytest.mark.once
def test_a_body_that_exits_with_0_neither_ends_a_burst_nor_passes_for_success(burst):
    unkind = hardening_tasks.exit_with_0.enqueue()
    kind = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 5)

    running = burst()

    unkind.refresh()
    assert running.code == 1
    assert (unkind.state, unkind.reason) == (states.FAILED, "worker died")
    assert Job.objects.filter(state=states.SUCCEEDED).count() == len(kind)


# Bodies side by side


@pytest.mark.once
def test_async_bodies_start_all_at_once_and_not_one_by_one(worker):
    calls = [{"seconds": 60, "key": f"async {number}"} for number in range(20)]
    hardening_tasks.sleep_async_with_effect.enqueue_many(calls)

    worker()

    wait_for(lambda: len(effects("async")) == len(calls), 20, "all bodies to run")


@pytest.mark.once
def test_sync_and_async_bodies_run_beside_each_other(worker):
    long_async = hardening_tasks.sleep_async_with_effect.enqueue(60, "async")
    worker()
    wait_for_effect("async")

    quick = tasks.add.enqueue(1, 1)
    quick.wait(10)
    tasks.sleep.enqueue(60, key="sync")
    wait_for_effect("sync started")
    quick_async = tasks.add_async.enqueue(1, 1)
    quick_async.wait(10)

    assert (quick.state, quick_async.state) == (states.SUCCEEDED, states.SUCCEEDED)
    assert wait_for_state(long_async, states.RUNNING).claim == 1


@pytest.mark.once
def test_quick_jobs_are_not_given_back_over_and_over_beside_a_long_body(worker):
    long = tasks.sleep.enqueue(300, key="long")
    worker("--threads", "4")
    wait_for_effect("long started")
    wait_for(lambda: Job.objects.get(pk=long.pk).started_at, 10, "the body to be long")
    quick = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 1000)

    finished = Job.objects.filter(state=states.SUCCEEDED)
    wait_for(lambda: finished.count() == len(quick), 30, "the quick jobs")

    assert finished.aggregate(claims=Sum("claim"))["claims"] < 1.2 * len(quick)


# Rows that somebody has locked


def processor_use(pid: int, seconds: float = 2) -> float:
    """Return the share of a processor that a process uses in the coming seconds."""
    process = psutil.Process(pid)
    before = process.cpu_times()
    time.sleep(seconds)  # a rate has no condition to wait for
    after = process.cpu_times()
    return (after.user + after.system - before.user - before.system) / seconds


@pytest.mark.postgresql
def test_a_locked_row_of_a_running_job_does_not_stop_the_beats(worker):
    job = tasks.sleep.enqueue(60, key="long")
    worker()
    wait_for_effect("long started")

    with locked(job):
        locked_at = Worker.objects.values_list(DbNow(), flat=True).get()
        beats = Worker.objects.values_list("beat_at", flat=True)
        wait_for(lambda: (beats.get() - locked_at).total_seconds() > 4, 10, "more beats")

    assert not Worker.objects.filter(lost_at__isnull=False).exists()
    assert effects("long") == ["long started"]


@pytest.mark.postgresql
def test_a_job_whose_row_was_locked_when_its_child_died_runs_again_after_the_lock(worker):
    job = tasks.sleep.enqueue(60, key="long")
    running = worker().ready()
    wait_for_effect("long started")
    _, child = running.children()

    with locked(job):
        os.kill(child, signal.SIGKILL)
        wait_for(lambda: "another takes its place" in running.output, 10, "the death to be seen")
        other = tasks.add.enqueue(1, 1)
        other.wait(10)

    wait_for(lambda: effects("long") == ["long started"] * 2, 10, "the second start")
    job.refresh()
    assert (job.losses, job.attempt) == (1, 2)


@pytest.mark.postgresql
def test_an_outcome_whose_row_is_locked_waits_without_spinning(worker, tmp_path):
    job = hardening_tasks.hold.enqueue(str(tmp_path / "body"))
    running = worker().ready()
    wait_for((tmp_path / "body.started").exists, 20, "the start")
    _, child = running.children()

    with locked(job):
        (tmp_path / "body").touch()
        wait_for((tmp_path / "body.ended").exists, 10, "the end of the body")
        used = processor_use(child)
    job.wait(10)

    assert used < 0.3
    assert (job.state, job.claim, job.attempt) == (states.SUCCEEDED, 1, 1)


@pytest.mark.postgresql
def test_without_redis_a_locked_row_at_the_head_does_not_block_its_queue(worker):
    head, next_one = tasks.add.enqueue(1, 1), tasks.add.enqueue(2, 2)

    with locked(head):
        running = worker(DJANGO_JOBS_TEST_CACHE="none").ready()
        next_one.wait(10)
        used = processor_use(running.children()[1])
        head.refresh()
        assert (next_one.state, head.state) == (states.SUCCEEDED, states.QUEUED)
    head.wait(10)

    assert used < 0.3
    assert head.state == states.SUCCEEDED


# The database away


@pytest.mark.postgresql
@pytest.mark.parametrize(("code", "word"), [("P0001", "refuses to move job"), ("53100", "does not answer")])
def test_a_job_that_cannot_be_postponed_holds_up_nothing_and_is_not_lost(worker, code, word):
    unknown = tasks.add.enqueue(1, 1)
    Job.objects.filter(pk=unknown.pk).update(task_path="tests.app.tasks.of_the_next_release")
    others = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 3)

    with refusing(f"NEW.state = '{states.SCHEDULED}'", code):
        running = worker("--threads", "4")
        wait_for(lambda: word in running.output, 20, "the failure")
        for job in others:
            job.wait(20)
    wait_for_state(unknown, states.SCHEDULED)
    Job.objects.filter(pk=unknown.pk).update(task_path="tests.app.tasks.add")
    unknown.wait(20)

    assert {job.state for job in [unknown, *others]} == {states.SUCCEEDED}
    assert running.process.poll() is None


@pytest.mark.postgresql
def test_a_worker_does_not_spin_while_the_database_is_away_and_keeps_its_outcomes(worker, postgres, tmp_path):
    jobs = [hardening_tasks.hold.enqueue(str(tmp_path / name)) for name in "abc"]
    running = worker("--threads", "3").ready()
    for name in "abc":
        wait_for((tmp_path / f"{name}.started").exists, 20, "the start")
    _, child = running.children()
    connections.close_all()

    postgres.stop("immediate")
    (tmp_path / "a").touch()
    wait_for(lambda: "outcomes are kept" in running.output, 10, "the failure")
    for name in "bc":
        (tmp_path / name).touch()
        wait_for((tmp_path / f"{name}.ended").exists, 10, "the end of the body")
    used = processor_use(child)
    postgres.start()
    for job in jobs:
        job.wait(20)

    assert used < 0.3
    assert {(job.state, job.claim, job.attempt) for job in jobs} == {(states.SUCCEEDED, 1, 1)}


@pytest.mark.postgresql
def test_sigterm_ends_a_worker_although_the_database_is_away(worker, postgres, tmp_path):
    hardening_tasks.hold.enqueue(str(tmp_path / "body"))
    running = worker("--grace", "1").ready()
    wait_for((tmp_path / "body.started").exists, 20, "the start")
    connections.close_all()

    postgres.stop("immediate")
    code = running.stop(20)

    assert code == 0, running.output


# Redis


def test_a_foreign_value_in_a_queue_is_dropped_and_the_jobs_behind_it_run(worker, redis_clean):
    job = tasks.add.enqueue(1, 1)
    [lane] = redis_clean.keys("*lane*")
    redis_clean.lpush(lane, "not-a-uuid")

    running = worker()
    job.wait(20)

    assert job.state == states.SUCCEEDED
    assert "it is dropped" in running.output
    assert "another takes its place" not in running.output


def test_foreign_values_among_the_takers_do_not_stop_the_repairs(worker, redis_clean):
    key = broker.for_worker().key
    running = worker().ready()
    tasks.add.enqueue(1, 1).wait(10)

    redis_clean.sadd(key("takers"), b"\xff:1", "dead:1", "dead:2", "nobody")
    redis_clean.rpush(key("taken:dead:1"), "garbage")
    redis_clean.set(key("taken:dead:2"), "of another type")
    unpushed = tasks.add.prepare((1, 1), {})
    unpushed.save(force_insert=True)  # its process died between the commit and the push
    unpushed.wait(20)

    assert unpushed.state == states.SUCCEEDED
    assert running.process.poll() is None


@pytest.mark.once
def test_a_burst_on_every_queue_finds_the_jobs_that_redis_has_forgotten(worker, burst, redis_clean):
    worker().ready().stop()
    jobs = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 20)
    redis_clean.flushall()

    running = burst(DJANGO_JOBS_TEST_QUEUES="")

    assert running.code == 0, running.output
    assert Job.objects.filter(state=states.SUCCEEDED).count() == len(jobs)


# The processes of one worker


def test_a_clerk_killed_before_it_has_read_of_a_death_leaves_that_to_the_next_one(worker):
    job = tasks.sleep.enqueue(60, key="long")
    running = worker().ready()
    wait_for_effect("long started")
    clerk, child = running.children()

    os.kill(clerk, signal.SIGSTOP)
    os.kill(child, signal.SIGKILL)
    wait_for(lambda: "another takes its place" in running.output, 10, "the death to be seen")
    os.kill(clerk, signal.SIGKILL)
    wait_for(lambda: effects("long") == ["long started"] * 2, 15, "the second start")

    job.refresh()
    assert running.process.poll() is None, running.output
    assert (job.losses, job.attempt) == (1, 2)


# Claims: what is of an old one changes nothing of a new one


@pytest.mark.once
def test_a_cancel_does_not_hit_the_next_job_of_the_same_entry():
    area = Table(areas=1, capacity=1).areas[0]
    old, new = uuid4(), uuid4()
    area.claim(0, old, 1)
    area.free(0)
    area.claim(0, new, 1)

    area.cancel(0, old, 1)
    area.cancel(0, new, 2)
    assert not area.is_cancelled(0)

    area.cancel(0, new, 1)
    assert area.is_cancelled(0)


def outcome(job: Job, transition: states.Transition, **details) -> Outcome:
    now = time.monotonic()
    return Outcome(transition=transition, job=job, started=now, finished=now, failure=Failure(kind="failed"), **details)


def test_a_persons_retry_is_not_swallowed_by_an_old_outcome():
    job = tasks.fail.enqueue()
    [claimed] = moves.claim([job.pk], worker=job_id(), slot=1)
    moves.lose([Held(claimed.pk, claimed.claim)], cause="its worker looked dead")
    moves.cancel(Job.objects.filter(pk=job.pk))
    retry(job)

    recorded = moves.record([outcome(claimed, states.FAIL, reason="old")])

    job.refresh()
    assert recorded == set()
    assert (job.state, job.reason) == (states.QUEUED, "")


def test_an_outcome_that_is_sent_twice_counts_once():
    job = tasks.fail_twice.enqueue("twice")
    [claimed] = moves.claim([job.pk], worker=job_id(), slot=1)
    failed = outcome(claimed, states.RETRY, delay=0.0)

    first = moves.record([failed])
    wait_for(moves.promote, 5, "its time")
    second = moves.record([failed])

    job.refresh()
    assert (first, second) == ({job.pk}, set())
    assert (job.state, job.failures) == (states.QUEUED, 1)
    assert Attempt.objects.filter(job=job.pk).count() == 1
