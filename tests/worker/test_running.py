"""How a worker takes, orders, times and stops jobs."""

from __future__ import annotations

import os
import signal
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import transaction

from django_jobs import cancel, retry, states
from django_jobs.models import Attempt, Job, Queue, Worker
from tests.app import hardening_tasks, tasks
from tests.app.models import Effect
from tests.services import wait_for
from tests.worker.conftest import effects, wait_for_effect, wait_for_state

pytestmark = pytest.mark.django_db(transaction=True)


def order() -> list[str]:
    return list(Effect.objects.order_by("pk").values_list("key", flat=True))


def test_higher_priorities_run_first_and_equals_in_their_order(burst):
    for key, priority in [("a", 0), ("b", 0), ("low", -50), ("high", 50), ("c", 0), ("highest", 100)]:
        tasks.effect.using(priority=priority).enqueue(key)

    burst()

    assert order() == ["highest", "high", "a", "b", "c", "low"]


@pytest.mark.once
def test_no_queue_starves_beside_a_full_one(burst):
    with transaction.atomic():
        for number in range(300):
            tasks.effect.enqueue(f"default {number}")
        for number in range(3):
            tasks.effect.using(queue_name="mail").enqueue(f"mail {number}")

    burst("--queues", "default,mail")

    assert len(order()) == 303
    assert max(order().index(f"mail {number}") for number in range(3)) < 250


def test_a_worker_serves_only_the_queues_it_is_told(burst):
    mine, other = tasks.add.using(queue_name="mail").enqueue(1, 1), tasks.add.enqueue(1, 1)

    burst("--queues", "mail")

    mine.refresh(), other.refresh()
    assert (mine.state, other.state) == (states.SUCCEEDED, states.QUEUED)


def test_run_after_keeps_a_job_until_its_time(worker):
    later = tasks.add.using(run_after=timedelta(hours=1)).enqueue(1, 1)
    soon = tasks.add.using(run_after=timedelta(seconds=1)).enqueue(1, 1)

    worker()
    soon.wait(20)

    later.refresh()
    assert later.state == states.SCHEDULED
    assert soon.started_at >= soon.run_after


def test_a_job_that_expired_before_its_start_is_cancelled(worker):
    job = tasks.effect.using(expires=0.001).enqueue("too late")

    worker()
    job.wait(20)

    assert (job.state, job.reason) == (states.CANCELLED, "expired")
    assert effects("too late") == []


def test_async_bodies_run_many_at_once(burst):
    jobs = [*tasks.sleep_async.enqueue_many([{"seconds": 0.5}] * 50), tasks.add_async.enqueue(1, 2)]

    burst()

    finished = Job.objects.filter(state=states.SUCCEEDED)
    assert finished.count() == len(jobs)
    spans = sorted((job.started_at, job.finished_at) for job in finished.filter(task_path__endswith="sleep_async"))
    at_once = max(sum(start <= moment < end for start, end in spans) for moment, _ in spans)
    assert at_once > 10
    assert Job.objects.get(pk=jobs[-1].pk).return_value == 3


def test_an_async_body_uses_the_orm_and_leaves_no_task_behind(burst):
    tasks.effect_async.enqueue("by an async body")
    tasks.leave_a_task_behind.enqueue("never")

    burst()

    assert effects("by an async") == ["by an async body"]
    assert effects("never") == []


@pytest.mark.once
def test_threads_run_bodies_side_by_side(worker):
    for name in ("one", "two", "three"):
        tasks.sleep.enqueue(60, key=name)

    worker("--threads", "3")

    for name in ("one", "two", "three"):
        wait_for_effect(f"{name} started")


@pytest.mark.once
def test_processes_share_the_work(worker):
    tasks.sleep.enqueue(60, key="one")
    tasks.sleep.enqueue(60, key="two")

    worker("--processes", "2")

    wait_for_effect("one started")
    wait_for_effect("two started")
    assert len(set(Job.objects.filter(state=states.RUNNING).values_list("slot", flat=True))) == 2


@pytest.mark.once
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("task", [tasks.too_slow, tasks.too_slow_in_python], ids=lambda task: task.name)
def test_a_body_that_takes_too_long_is_interrupted_and_fails(worker, task, threads):
    if task is tasks.too_slow and threads == "2":
        return  # a thread that sleeps in C is interrupted when it wakes: what the hard timeout is for
    job = task.enqueue("slow")

    running = worker("--threads", threads)
    job.wait(20)

    assert job.state == states.FAILED
    assert job.errors[0].kind == Attempt.Kind.TIMED_OUT
    assert "TaskTimeout" in job.last_error
    assert "died" not in running.output and "ended" not in running.output


@pytest.mark.once
def test_an_async_body_that_takes_too_long_is_cancelled(worker):
    job = tasks.too_slow_async.enqueue()

    worker()
    job.wait(20)

    assert job.errors[0].kind == Attempt.Kind.TIMED_OUT


def test_a_body_that_does_not_listen_is_killed_and_its_mates_go_back_unharmed(worker, tmp_path):
    path = tmp_path / "mate"
    mate = hardening_tasks.hold.enqueue(str(path))
    worker("--threads", "2", DJANGO_JOBS_TEST_HARD_TIMEOUT_AFTER="0.5")
    wait_for(Path(f"{path}.started").exists, 30, "the mate to start")

    deaf = tasks.deaf.enqueue("deaf")
    deaf.wait(20)
    path.touch()
    mate.wait(20)

    assert (deaf.state, deaf.errors[0].kind) == (states.FAILED, Attempt.Kind.TIMED_OUT)
    assert (mate.state, mate.losses, mate.interruptions) == (states.SUCCEEDED, 0, 1)


def test_a_waiting_job_is_cancelled_at_once(burst):
    job = tasks.effect.enqueue("never")

    assert cancel(job, reason="changed my mind") == 1
    burst()

    job.refresh()
    assert (job.state, job.reason) == (states.CANCELLED, "changed my mind")
    assert effects("never") == []


@pytest.mark.parametrize("task", [tasks.wait_to_be_cancelled, tasks.wait_async_to_be_cancelled])
def test_a_running_job_is_stopped_when_it_is_cancelled(worker, task):
    job = task.enqueue("key")
    worker()
    wait_for_effect("key started")

    assert cancel(job) == 1
    job.wait(20)

    assert (job.state, job.reason) == (states.CANCELLED, "cancelled while running")


def test_a_failed_job_runs_again_with_its_history_when_it_is_retried(burst):
    job = tasks.fail.enqueue()
    burst()

    assert retry(job) == 1
    burst()

    job.refresh()
    assert (job.state, job.attempt, job.failures) == (states.FAILED, 2, 1)
    assert [attempt.number for attempt in job.errors] == [1, 2]


def test_progress_is_stored_while_the_body_runs(worker):
    job = tasks.report_progress.enqueue("enough")
    worker()

    def progress() -> dict | None:
        job.refresh()
        return job.progress

    told = wait_for(progress, 15, "progress")
    Effect.objects.create(key="enough")
    job.wait(20)

    assert told["total"] == 10_000 and told["text"] == "counting"
    assert job.state == states.SUCCEEDED


def test_a_long_body_has_its_start_on_record_while_it_runs(worker):
    job = tasks.sleep.enqueue(60)

    worker()

    def started() -> bool:
        job.refresh()
        return job.started_at is not None

    wait_for(started, 15, "started_at")
    assert job.state == states.RUNNING


def test_a_paused_queue_is_not_served_until_it_is_resumed(worker):
    Queue.objects.update_or_create(name="default", defaults={"paused_at": "2026-01-01T00:00:00Z"})
    job = tasks.add.enqueue(1, 1)
    probe = tasks.add.using(queue_name="mail").enqueue(1, 1)
    worker("--queues", "default,mail")
    probe.wait(20)

    job.refresh()
    paused = job.state
    Queue.objects.update(paused_at=None)
    job.wait(20)

    assert (paused, job.state) == (states.QUEUED, states.SUCCEEDED)


def test_a_job_whose_task_nobody_knows_is_given_back_and_waits(worker):
    job = tasks.add.enqueue(1, 1)
    Job.objects.update(task_path="tests.app.tasks.of_the_next_release")

    running = worker()
    wait_for_state(job, states.SCHEDULED)

    assert "no task tests.app.tasks.of_the_next_release is registered here" in job.reason
    assert (job.attempt, job.failures) == (0, 0)
    wait_for(lambda: "given back, again in" in running.output, 5, "a line about it")


def test_a_job_whose_arguments_do_not_fit_here_is_given_back_and_waits(worker):
    job = tasks.add.enqueue(1, 1)
    Job.objects.update(kwargs={"of_the_next_release": True})

    worker()
    wait_for_state(job, states.SCHEDULED)

    assert "of_the_next_release" in job.reason


def test_without_redis_everything_goes_through_the_database(worker):
    job, retried = tasks.add.enqueue(1, 1), tasks.fail_twice.enqueue("thrice")

    running = worker(DJANGO_JOBS_TEST_CACHE="none").ready()
    job.wait(20)
    retried.wait(20)

    assert (job.state, retried.state) == (states.SUCCEEDED, states.SUCCEEDED)
    assert "CACHE is None" in running.output


def test_everything_in_one_process(worker):
    job, retried = tasks.add.enqueue(1, 1), tasks.fail_twice.enqueue("thrice")
    running = worker("--processes", "0").ready()

    job.wait(20)
    retried.wait(20)

    assert (job.state, retried.state) == (states.SUCCEEDED, states.SUCCEEDED)
    assert running.children() == []
    assert running.stop() == 0
    assert Worker.objects.get().stopped_at is not None


def test_sigterm_waits_for_running_bodies_and_gives_back_the_rest(worker, tmp_path):
    path = tmp_path / "slow"
    slow = hardening_tasks.hold.enqueue(str(path))
    running = worker("--processes", "1").ready()
    wait_for(Path(f"{path}.started").exists, 30, "the body to start")
    waiting = tasks.effect.enqueue("not by this worker")

    running.process.send_signal(signal.SIGTERM)
    wait_for(lambda: "stopping" in running.output, 20, "the stop")
    path.touch()
    code = running.end()

    slow.refresh(), waiting.refresh()
    assert code == 0, running.output
    assert (slow.state, slow.attempt) == (states.SUCCEEDED, 1)
    assert (waiting.state, waiting.attempt) == (states.QUEUED, 0)
    assert "waiting up to 25.0 s for 1 running job" in running.output
    assert "stopped: 1 succeeded" in running.output
    assert Worker.objects.get().stopped_at is not None


@pytest.mark.once
@pytest.mark.parametrize("how", ["grace is over", "second signal"])
def test_a_body_that_outlasts_the_stop_goes_back_without_blame(worker, how):
    job = tasks.sleep.enqueue(60, key="slow")
    running = worker("--grace", "1" if how == "grace is over" else "60").ready()
    wait_for_effect("slow started")

    running.process.send_signal(signal.SIGTERM)
    if how == "second signal":
        wait_for(lambda: "stopping" in running.output, 10, "the stop")
        running.process.send_signal(signal.SIGTERM)
    code = running.end(15)

    job.refresh()
    assert code == 0, running.output
    assert (job.state, job.interruptions, job.losses, job.failures) == (states.QUEUED, 1, 0, 0)
    assert [attempt.kind for attempt in job.errors] == [Attempt.Kind.INTERRUPTED]
    assert "Traceback" not in running.output
    assert Worker.objects.get().stopped_at is not None


@pytest.mark.once
def test_max_jobs_replaces_the_child(worker):
    jobs = tasks.which_process.enqueue_many([{}] * 6)

    worker("--max-jobs", "2")
    for job in jobs:
        job.wait(20)

    assert len({job.return_value for job in jobs}) == 3


@pytest.mark.once
def test_max_memory_replaces_the_child(worker):
    jobs = [tasks.grow.enqueue(150)]
    worker("--max-memory", "120")
    jobs[0].wait(20)

    jobs.append(tasks.grow.enqueue(1))
    jobs[1].wait(20)

    assert jobs[0].return_value != jobs[1].return_value


def test_a_burst_runs_what_its_jobs_enqueue(burst):
    tasks.enqueue_another.enqueue("child's")

    burst()

    assert effects("child") == ["child's"]


@pytest.mark.once
def test_json_lines_for_log_collectors(burst):
    import json

    job = tasks.fail.enqueue("so")

    worker = burst("--json")

    lines = [json.loads(line) for line in worker.output.splitlines()]
    (line,) = [line for line in lines if line["event"] == "finished"]
    assert (line["job"], line["state"], line["error"]) == (str(job.id), "failed", "ValueError: so")
    assert lines[-1]["event"] == "stopped" and lines[-1]["failed"] == 1


def test_check_says_that_everything_answers(worker):
    running = worker("--check")

    assert running.end() == 0, running.output
    assert "everything answers" in running.output


@pytest.mark.once
def test_check_says_what_does_not_answer(worker):
    running = worker("--check", DJANGO_JOBS_TEST_REDIS="redis://127.0.0.1:1/0")

    assert running.end() == 2
    assert "problem: Redis at 127.0.0.1:1/0" in running.output


@pytest.mark.once
@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--threads", "0"], 'argument --threads: "0" is not a whole number of at least 1'),
        (["--processes", "x"], 'argument --processes: "x" is not a whole number'),
        (["--queues", "a b"], "is not a list of queue names"),
        (["--queues", "defalt"], 'Did you mean "default"?'),
        (["--max-jobs", "-1"], "argument --max-jobs"),
    ],
)
def test_a_wrong_option_is_refused_with_its_name(worker, arguments, word):
    running = worker(*arguments)

    assert running.end() == 2
    assert word in running.output


@pytest.mark.once
def test_it_starts_again_when_code_changes(worker, tmp_path):
    (tmp_path / "watched_module.py").write_text("x = 1\n")
    running = worker(
        "--reload", PYTHONPATH=f"{tmp_path}{os.pathsep}{os.getcwd()}", DJANGO_JOBS_TEST_IMPORT="watched_module"
    ).ready()

    (tmp_path / "watched_module.py").write_text("x = 2  # changed\n")
    os.utime(tmp_path / "watched_module.py", (1, 1))

    wait_for(lambda: running.output.count("ready in") == 2, 20, "the second start")


def test_a_cancel_is_not_forgotten_when_the_body_fails_first(worker):
    job = tasks.fail_after.enqueue(0.3, "again")  # the next attempt would come much later
    worker()
    wait_for_effect("again")

    cancel(job)
    job.wait(20)

    assert (job.state, job.attempt) == (states.CANCELLED, 1)


@pytest.mark.once
def test_sigterm_to_all_its_processes_stops_a_worker_in_good_order(worker):
    job = tasks.sleep.enqueue(2, key="slow")
    running = worker().ready()
    wait_for_effect("slow started")

    os.killpg(running.process.pid, signal.SIGTERM)
    code = running.end(20)

    job.refresh()
    assert (code, job.state) == (0, states.SUCCEEDED), running.output
    assert "died" not in running.output
    assert Worker.objects.get().stopped_at is not None


@pytest.mark.once
def test_a_burst_counts_a_killed_body_as_failed(burst):
    tasks.deaf.enqueue("deaf")

    worker = burst(DJANGO_JOBS_TEST_HARD_TIMEOUT_AFTER="0.5")

    assert worker.code == 1
    assert "✗ deaf" in worker.output and "1 failed" in worker.output
