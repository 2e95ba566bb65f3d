"""What becomes of jobs whose bodies end in every way that a body can end."""

from __future__ import annotations

import pytest

from django_jobs import states
from django_jobs.models import Attempt, Job
from tests.app import tasks
from tests.worker.conftest import effects

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_body_that_returns_makes_its_job_succeed_with_the_value(burst):
    job = tasks.add.enqueue(1, b=2)

    worker = burst()

    job.refresh()
    assert (job.state, job.return_value, job.attempt, job.claim) == (states.SUCCEEDED, 3, 1, 1)
    assert job.started_at <= job.finished_at
    assert job.prune_at > job.finished_at
    assert worker.code == 0, worker.output
    assert "✓ add" in worker.output and str(job.id) in worker.output


def test_a_body_that_raises_makes_its_job_fail_with_the_error_and_its_traceback(burst):
    job = tasks.fail.enqueue("card refused")

    worker = burst()

    job.refresh()
    (attempt,) = job.errors
    assert (job.state, job.reason) == (states.FAILED, "no attempts left")
    assert job.last_error == "ValueError: card refused"
    assert (attempt.number, attempt.kind, attempt.exception_class) == (1, Attempt.Kind.FAILED, "ValueError")
    assert attempt.message == "card refused"
    assert "raise ValueError(message)" in attempt.traceback
    assert "django_jobs/worker" not in attempt.traceback
    assert worker.code == 1
    assert "✗ fail" in worker.output and "attempt 1 of 1  ValueError: card refused" in worker.output


def test_a_failed_body_is_tried_again_after_the_backoff_until_it_succeeds(worker):
    job = tasks.fail_twice.enqueue("thrice")

    running = worker().ready()
    job.wait(20)

    assert (job.state, job.return_value, job.attempt, job.failures) == (states.SUCCEEDED, "at last", 3, 2)
    assert effects("thrice") == ["thrice"] * 3
    assert [attempt.number for attempt in job.errors] == [1, 2]
    assert "attempt 1 of 3, again in 100 ms  ValueError: not yet" in running.output


@pytest.mark.parametrize(
    ("name", "attempts", "reason"),
    [
        ("OSError", 5, "no attempts left"),
        ("ValueError", 1, "not retried after ValueError"),
        ("FileNotFoundError", 1, "not retried after FileNotFoundError"),
    ],
)
def test_only_what_retry_on_names_and_give_up_on_does_not_is_retried(worker, name, attempts, reason):
    job = tasks.raise_named.enqueue(name)

    worker()
    job.wait(20)

    assert (job.state, job.attempt, job.reason) == (states.FAILED, attempts, reason)


def test_a_backoff_function_that_returns_none_ends_the_retries(worker):
    job = tasks.backoff_by_function.enqueue()

    worker()
    job.wait(20)

    assert (job.state, job.attempt) == (states.FAILED, 2)


def test_a_raised_retry_spends_attempts_until_none_is_left(worker):
    job = tasks.retry_once.enqueue("asked")

    worker()
    job.wait(20)

    assert (job.state, job.attempt, job.last_error) == (states.FAILED, 2, "Retry: please")
    assert effects("asked") == ["asked", "asked"]


def test_a_raised_discard_cancels_the_job_with_the_reason(burst):
    job = tasks.discard.enqueue()

    worker = burst()

    job.refresh()
    assert (job.state, job.reason) == (states.CANCELLED, "discarded: the order is gone"), worker.output
    assert worker.code == 0


def test_a_body_is_told_its_attempt_and_its_job(burst):
    job = tasks.tell_context.enqueue("hello")

    burst()

    job.refresh()
    assert job.return_value == {"word": "hello", "attempt": 1, "job": str(job.id)}


@pytest.mark.parametrize("name", sorted(tasks.RAISED))
def test_whatever_a_body_raises_fails_its_job_and_nothing_else(burst, name):
    job, other = tasks.raise_base.enqueue(name), tasks.add.enqueue(1, 1)

    burst()

    job.refresh(), other.refresh()
    assert (job.state, other.state) == (states.FAILED, states.SUCCEEDED)
    assert name in job.last_error


def test_strange_messages_and_endless_chains_are_stored_escaped_and_bounded(burst):
    strange, chained = tasks.raise_strange_text.enqueue(), tasks.raise_long_chain.enqueue()

    burst()

    strange.refresh(), chained.refresh()
    assert (strange.state, chained.state) == (states.FAILED, states.FAILED)
    (attempt,) = strange.errors
    assert attempt.message.startswith(r"NUL \x00, surrogate \ud800, long xxx")
    assert len(attempt.message) <= 4_000
    assert 0 < len(chained.errors[0].traceback) <= 60_000


@pytest.mark.parametrize(
    ("kind", "value", "reason"),
    [
        ("nan", None, "return value not kept"),
        ("object", None, "return value not kept"),
        ("huge", None, "more than MAX_RESULT_BYTES"),
        ("surrogate", "\ud800\0", ""),
    ],
)
def test_a_return_value_that_cannot_be_kept_does_not_undo_the_success(burst, kind, value, reason):
    job = tasks.return_strange.enqueue(kind)

    burst()

    job.refresh()
    assert (job.state, job.return_value) == (states.SUCCEEDED, value)
    assert reason in job.reason


def test_a_job_with_keep_0_is_deleted_with_its_outcome(burst):
    job = tasks.keep_nothing.enqueue("gone")

    burst()

    assert effects("gone") == ["gone"]
    assert not Job.objects.filter(pk=job.pk).exists()


def test_an_atomic_body_is_rolled_back_as_a_whole_when_it_fails(burst):
    good, bad = tasks.atomic_effect.enqueue("good"), tasks.atomic_effect.enqueue("bad", error=True)

    burst()

    good.refresh(), bad.refresh()
    assert (good.state, bad.state) == (states.SUCCEEDED, states.FAILED)
    assert effects("good") == ["good"]
    assert effects("bad") == []


def test_no_job_meets_what_another_has_left_behind(burst):
    tasks.make_a_mess.enqueue()
    job = tasks.look_around.enqueue()
    tasks.close_connection.enqueue()
    last = tasks.add.enqueue(1, 1)

    burst()

    job.refresh(), last.refresh()
    assert last.state == states.SUCCEEDED
    assert effects("of a transaction") == []
    assert job.return_value["language"] == "en-us"
    assert job.return_value["zone"] == "Europe/Berlin"
    assert job.return_value["folder"] != "/"
    assert job.return_value["autocommit"] is True
    assert job.return_value["main_thread"] is True
