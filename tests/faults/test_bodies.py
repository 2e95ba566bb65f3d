"""Bodies that take their process with them, or would: only their own jobs pay for it."""

from __future__ import annotations

import os
import signal
import time

import pytest

from django_jobs import states
from django_jobs.models import Attempt, Job
from tests.app import fault_tasks, hardening_tasks, tasks
from tests.disturb import locked
from tests.faults.invariants import read_log
from tests.services import wait_for
from tests.worker.conftest import effects, wait_for_effect, wait_for_state

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]


# Poison


def test_a_poison_job_fails_and_none_of_a_thousand_others_is_lost_or_fails_with_it(worker, log, all_is_well):
    before = tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 500)
    poison = tasks.segfault.enqueue()
    after = tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 500)

    running = worker()
    poison.wait(60)
    all_is_well(60)

    poison.refresh()
    assert (poison.state, poison.reason, poison.losses) == (states.FAILED, "worker died", poison.max_losses + 1)
    innocent = Job.objects.filter(state=states.SUCCEEDED, losses=0, failures=0, interruptions=0, attempt=1)
    assert innocent.count() == len(before) + len(after)  # also those whose outcomes were not recorded yet
    assert sum(read_log(log).starts.values()) == len(before) + len(after)
    assert running.output.count("SIGSEGV") == poison.max_losses + 1


def test_a_poison_jobs_thread_mates_run_again_and_do_not_die_with_it_twice(worker, log, all_is_well, tmp_path):
    mates = [fault_tasks.log_until.enqueue(str(tmp_path / "mates")) for _ in range(3)]
    running = worker("--threads", "4").ready()
    wait_for(lambda: len(read_log(log).starts) == 3, 20, "the mates' starts")

    poison = tasks.segfault.enqueue()
    wait_for(lambda: "SIGSEGV" in running.output, 20, "the poison to work")
    (tmp_path / "mates").touch()
    poison.wait(60)
    all_is_well(60)

    poison.refresh()
    kinds = [Attempt.Kind.INTERRUPTED, *[Attempt.Kind.LOST] * 4]  # at first nobody knew which of four it was
    assert (poison.state, poison.losses, [one.kind for one in poison.errors]) == (states.FAILED, 4, kinds)
    for job in mates:
        job.refresh()
        assert (job.state, job.losses, job.interruptions, job.attempt) == (states.SUCCEEDED, 0, 1, 2)


@pytest.fixture
def three_suspects(worker, tmp_path):
    """A function that lets a child die with three bodies, and returns the worker and the jobs."""

    def die(*arguments: str, **environment: str):
        jobs = [hardening_tasks.hold.enqueue(str(tmp_path / f"suspect-{n}")) for n in range(3)]
        running = worker("--threads", "4", *arguments, **environment).ready()
        for n in range(3):
            wait_for((tmp_path / f"suspect-{n}.started").exists, 20, "a start")
            (tmp_path / f"suspect-{n}.started").unlink()
        os.kill(running.children()[1], signal.SIGKILL)
        return running, jobs

    return die


@pytest.mark.parametrize("cache", ["default", "none"])
def test_suspects_run_one_after_the_other_and_others_after_them(three_suspects, tmp_path, settings, cache):
    settings.DJANGO_JOBS = {**settings.DJANGO_JOBS, "CACHE": None if cache == "none" else "default"}
    _, jobs = three_suspects(DJANGO_JOBS_TEST_CACHE=cache)

    for _ in jobs:
        wait_for(lambda: list(tmp_path.glob("suspect-?.started")), 15, "the next one")
        [started] = tmp_path.glob("suspect-?.started")  # nothing beside it
        time.sleep(1.5)  # longer than what a child waits for, when it is others that run
        started.unlink()
        started.with_suffix("").touch()
    last = tasks.add.enqueue(1, 2)

    last.wait(20)
    assert {job.wait(20).state for job in jobs} == {states.SUCCEEDED}
    assert {(job.losses, job.attempt) for job in jobs} == {(0, 2)}


def test_a_worker_that_stops_starts_none_of_those_that_wait_to_run_alone(three_suspects, tmp_path):
    running, jobs = three_suspects()
    wait_for(lambda: list(tmp_path.glob("suspect-?.started")), 15, "the first one")

    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in running.output, 10, "the worker to hear")
    for n in range(3):
        (tmp_path / f"suspect-{n}").touch()
    running.end(20)

    for job in jobs:
        job.refresh()
    assert sorted(job.state for job in jobs) == [states.QUEUED, states.QUEUED, states.SUCCEEDED]


def test_a_job_that_may_not_be_lost_even_once_is_not_run_again_to_find_out(worker, log, tmp_path):
    mate = fault_tasks.log_until.enqueue(str(tmp_path / "mate"))
    running = worker("--threads", "2").ready()
    wait_for(lambda: len(read_log(log).starts) == 1, 20, "the mate's start")

    once = tasks.segfault.using(max_losses=0).enqueue()
    once.wait(30)
    (tmp_path / "mate").touch()
    mate.wait(30)

    assert (once.state, once.reason, once.attempt) == (states.FAILED, "worker died", 1)
    assert (mate.state, mate.losses, mate.attempt) == (states.SUCCEEDED, 0, 2)
    assert running.process.poll() is None


def test_a_body_that_had_ended_before_another_killed_the_process_is_not_blamed(worker, tmp_path):
    ended = fault_tasks.echo.enqueue("its value dies with the process")
    killer = hardening_tasks.hold.enqueue(str(tmp_path / "killer"))
    running = worker("--threads", "2", DJANGO_JOBS_FAILPOINT=f"before_record=pause:60!{tmp_path / 'once'}")
    wait_for((tmp_path / "killer.started").exists, 20, "the other body")
    wait_for((tmp_path / "once").exists, 20, "the outcome to be on its way")

    os.kill(running.children()[1], signal.SIGKILL)
    wait_for_state(ended, states.SUCCEEDED)
    (tmp_path / "killer").touch()
    killer.wait(20)

    assert (ended.losses, ended.interruptions, ended.attempt) == (0, 1, 2)
    assert [(one.kind, one.message) for one in ended.errors] == [
        (Attempt.Kind.INTERRUPTED, "its process died: signal 9 (SIGKILL)")
    ]
    assert (killer.state, killer.losses) == (states.SUCCEEDED, 1)


def test_a_body_that_takes_all_memory_fails_with_that_and_its_worker_goes_on(worker):
    hungry = fault_tasks.exhaust_memory.enqueue()
    others = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 50)

    running = worker()
    for job in [hungry, *others]:
        job.wait(30)

    assert (hungry.state, hungry.last_error, hungry.losses) == (states.FAILED, "MemoryError", 0)
    assert {(job.state, job.attempt) for job in others} == {(states.SUCCEEDED, 1)}
    assert "ended" not in running.output


def test_a_body_that_leaves_thousands_of_files_open_harms_no_other(worker):
    greedy = fault_tasks.open_many_files.enqueue(1_500)
    running = worker()
    greedy.wait(20)

    following = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 20)
    for job in following:
        job.wait(20)

    assert greedy.return_value > 1_024
    assert {job.state for job in following} == {states.SUCCEEDED}
    assert "ended" not in running.output


# Timeouts


@pytest.mark.parametrize("threads", ["1", "2"])
def test_a_body_that_swallows_every_exception_is_ended_by_its_timeout(worker, threads):
    job = fault_tasks.swallow_every_exception.enqueue("careless")

    running = worker("--threads", threads)
    job.wait(20)

    assert (job.state, [one.kind for one in job.errors]) == (states.FAILED, [Attempt.Kind.TIMED_OUT])
    assert job.last_error == "TaskTimeout: still running after its timeout of 2 s"
    assert effects() == ["careless"]
    assert "ended" not in running.output  # the soft one was enough


def test_a_body_that_holds_the_interpreter_beyond_its_timeout_is_killed(worker):
    job = tasks.hold_the_interpreter.using(timeout=0.5).enqueue(60)

    running = worker(DJANGO_JOBS_TEST_HARD_TIMEOUT_AFTER="0.5")
    job.wait(20)

    assert (job.state, [one.kind for one in job.errors]) == (states.FAILED, [Attempt.Kind.TIMED_OUT])
    assert "hard timeout" in running.output


@pytest.mark.postgresql
def test_a_killed_body_whose_row_was_locked_counts_in_the_workers_totals(worker):
    job = tasks.deaf.enqueue("deaf")
    running = worker(DJANGO_JOBS_TEST_HARD_TIMEOUT_AFTER="0.5")
    wait_for_effect("deaf started")

    with locked(job):
        wait_for(lambda: "another takes its place" in running.output, 20, "the kill")
    job.wait(20)
    wait_for(lambda: "✗ deaf" in running.output, 10, "the line about it")
    running.stop()

    assert (job.state, job.failures) == (states.FAILED, 1)
    assert " 1 failed" in running.output


# Orderly stops


@pytest.mark.parametrize("when", ["in the running body", "in a body before it"])
def test_a_body_that_resets_sigterm_is_stopped_in_good_order(worker, tmp_path, when):
    if when == "in a body before it":
        fault_tasks.forget_sigterm.enqueue()
        job = hardening_tasks.hold.enqueue(str(tmp_path / "body"))
    else:
        job = fault_tasks.forget_sigterm.enqueue(str(tmp_path / "body"))
    running = worker().ready()
    wait_for((tmp_path / "body.started").exists, 20, "the body")

    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in running.output, 10, "the stop")
    if when == "in a body before it":
        (tmp_path / "body").touch()
    code = running.end(20)

    job.refresh()
    assert code == 0
    assert job.losses == 0
    if when == "in a body before it":
        assert (job.state, job.attempt) == (states.SUCCEEDED, 1)
    else:
        assert (job.state, job.interruptions) == (states.QUEUED, 1)
        assert " 0 lost" in running.output


def test_a_worker_says_why_it_replaces_a_child(worker):
    tasks.add.enqueue_many([{"a": 1, "b": 1}] * 3)

    running = worker("--max-jobs", "2")

    wait_for(lambda: "child 1 ends: 2 jobs done; another takes its place" in running.output, 20, "the line")


# Async


def test_tasks_that_an_async_body_leaves_behind_have_their_last_words(worker):
    job = fault_tasks.leave_last_words.enqueue("words")

    worker()
    job.wait(20)

    assert (job.state, effects("words")) == (states.SUCCEEDED, ["words"])


def test_a_task_that_does_not_heed_its_cancellation_delays_the_outcome_for_seconds_only(worker):
    job = fault_tasks.leave_a_deaf_task_behind.enqueue()

    running = worker()
    job.wait(20)

    assert job.state == states.SUCCEEDED
    assert "does not heed its cancellation" in running.output
