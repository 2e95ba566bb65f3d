"""When this job is done, enqueue that: followers, chains and callbacks, once whatever dies in between."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.db import transaction

from django_jobs import RESULT, InvalidTask, cancel, following, moves, retry, states, task, testing
from django_jobs.models import Job, db_now
from django_jobs.moves import Outcome
from django_jobs.scheduler.settle import settle
from tests.app import tasks
from tests.app.models import Effect
from tests.services import wait_for

pytestmark = pytest.mark.django_db


def end(job: Job, transition: states.Transition, **values) -> None:
    """Run a job as a worker would, up to the recording of that outcome."""
    [claimed] = moves.claim([job.pk], worker=job.pk, slot=1)
    record(claimed, transition, **values)


def record(claimed: Job, transition: states.Transition, **values) -> set:
    now = time.monotonic()
    callback = following.callback_of(values.pop("of", None), transition)
    outcome = Outcome(transition=transition, job=claimed, started=now, finished=now, callback=callback, **values)
    return following.record([outcome])


def state(job: Job) -> str:
    job.refresh()
    return job.state


def pushed(redis_clean) -> set[str]:
    return {id.decode() for key in redis_clean.keys("*known*") for id in redis_clean.smembers(key)}


# Followers


def test_a_follower_waits_until_its_job_has_succeeded():
    first = tasks.add.enqueue(1, 2)
    second = first.then(tasks.add.s(3, 4))

    assert (state(second), second.parent, second.run_after) == (states.SCHEDULED, first.pk, None)
    assert moves.promote() == []

    end(first, states.SUCCEED)

    assert state(second) == states.QUEUED


@pytest.mark.parametrize(
    ("call", "args", "kwargs"),
    [
        (tasks.add.s(RESULT, 1), [{"sum": "3", "of": [1, 2]}, 1], {}),
        (tasks.add.s(a=[RESULT], b='{"$type":"result","value":""}'), [], {
            "a": [{"sum": "3", "of": [1, 2]}], "b": '{"$type":"result","value":""}'}),
        (tasks.add.s(1, {"$type": "result", "value": ""}), [1, {"$type": "result", "value": ""}], {}),
    ],
)  # fmt: skip
def test_a_follower_gets_the_result_where_it_asks_for_it(call, args, kwargs):
    first = tasks.add.enqueue(1, 2)
    second = first.then(call)

    end(first, states.SUCCEED, return_value='{"sum":"3","of":[1,2]}')

    second.refresh()
    assert (second.args, second.kwargs) == (args, kwargs)


def test_a_job_that_returns_nothing_passes_none():
    first = tasks.effect.enqueue("x")
    second = first.then(tasks.add.s(RESULT, 1))

    end(first, states.SUCCEED)

    second.refresh()
    assert second.args == [None, 1]


def test_a_chain_goes_on_link_by_link():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))
    third = second.then(tasks.add.s(RESULT, 2))

    end(first, states.SUCCEED, return_value="2")
    assert (state(second), state(third)) == (states.QUEUED, states.SCHEDULED)
    end(second, states.SUCCEED, return_value="3")

    assert (state(third), third.args) == (states.QUEUED, [3, 2])


ENDS = {
    "fail": lambda job: end(job, states.FAIL),
    "discard": lambda job: end(job, states.DISCARD),
    "stop": lambda job: end(job, states.STOP),
    "cancel": cancel,
    "expire": lambda job: (Job.objects.filter(pk=job.pk).update(expires_at=db_now()), moves.expire()),
    "bury": lambda job: bury(job),
}


def bury(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(max_losses=0)
    [claimed] = moves.claim([job.pk], worker=job.pk, slot=1)
    following.lose([moves.Held(claimed.pk, claimed.claim)], cause="killed")


@pytest.mark.parametrize("how", ENDS)
def test_when_the_first_does_not_succeed_all_that_follow_are_cancelled(how):
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))
    third = second.then(tasks.add.s(RESULT, 2))

    ENDS[how](first)

    assert state(first) in (states.FAILED, states.CANCELLED)
    assert [(state(job), job.reason) for job in (second, third)] == [(states.CANCELLED, moves.ABANDONED)] * 2


def test_a_retry_with_success_brings_the_followers_back():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))
    third = second.then(tasks.add.s(RESULT, 2))
    end(first, states.FAIL)

    retry(first)
    assert state(second) == states.CANCELLED
    end(first, states.SUCCEED, return_value="2")

    assert (state(second), second.args, second.reason, second.finished_at) == (states.QUEUED, [2, 1], "", None)
    assert state(third) == states.CANCELLED
    end(second, states.SUCCEED, return_value="3")
    assert (state(third), third.args) == (states.QUEUED, [3, 2])


def test_a_follower_that_somebody_cancelled_stays_so():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(1, 1))
    cancel(second)

    end(first, states.SUCCEED)

    assert state(second) == states.CANCELLED


def test_an_abandoned_follower_cannot_be_retried_by_itself():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))
    end(first, states.FAIL)

    assert retry([first.pk, second.pk]) == 1

    assert (state(first), state(second)) == (states.QUEUED, states.CANCELLED)


def test_a_follower_that_is_run_by_hand_without_the_result_says_so():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))
    cancel([first.pk])
    first_again = tasks.add.enqueue(1, 1)
    third = first_again.then(tasks.add.s(RESULT, 1))
    cancel(third)
    retry(third)

    with testing.without_redis(), pytest.raises(InvalidTask, match=f"RESULT is what job {first_again.pk}"):
        testing.run_jobs()

    assert (state(second), state(third)) == (states.CANCELLED, states.FAILED)


def test_a_job_that_succeeds_again_does_not_enqueue_its_followers_again():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(1, 1))
    end(first, states.SUCCEED)
    end(second, states.SUCCEED)

    retry(first)
    end(first, states.SUCCEED)

    assert state(second) == states.SUCCEEDED
    assert Job.objects.count() == 2


def test_a_failed_attempt_that_is_tried_again_settles_nothing():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(1, 1))

    end(first, states.RETRY, delay=60.0)

    assert state(second) == states.SCHEDULED


@pytest.mark.parametrize(("transition", "expected"), [(states.SUCCEED, states.QUEUED), (states.FAIL, states.CANCELLED)])
def test_what_follows_a_job_that_has_ended_is_settled_at_once(transition, expected):
    first = tasks.add.enqueue(1, 1)
    end(first, transition, return_value="2" if transition is states.SUCCEED else None)

    second = first.then(tasks.add.s(RESULT, 1))

    assert second.state == expected
    assert second.args == [2, 1] if expected == states.QUEUED else second.reason == moves.ABANDONED


@pytest.mark.parametrize("transition", [states.SUCCEED, states.RETRY])
def test_a_follower_that_comes_while_the_body_runs_is_not_forgotten(transition):
    first = tasks.add.enqueue(1, 1)
    [claimed] = moves.claim([first.pk], worker=first.pk, slot=1)
    second = first.then(tasks.add.s(1, 1))

    assert record(claimed, transition, delay=60.0 if transition is states.RETRY else None) == set()
    assert moves.still_held([claimed]) == {first.pk}
    assert record(claimed, transition, delay=60.0 if transition is states.RETRY else None) == {first.pk}

    assert state(second) == (states.QUEUED if transition is states.SUCCEED else states.SCHEDULED)


def test_a_job_that_would_not_be_kept_is_kept_until_its_followers_are_settled():
    first = tasks.add.enqueue(1, 1)
    second = first.then(tasks.add.s(RESULT, 1))

    end(first, states.SUCCEED, return_value="2", keep=0)

    assert (state(second), second.args) == (states.QUEUED, [2, 1])
    assert state(first) == states.SUCCEEDED and first.prune_at <= db_now()


def test_what_follows_is_pushed_after_the_commit(redis_clean, django_capture_on_commit_callbacks):
    with django_capture_on_commit_callbacks(execute=True):
        first = tasks.add.enqueue(1, 1)
        second = first.then(tasks.add.s(1, 1))
    assert pushed(redis_clean) == {first.pk.hex}

    with django_capture_on_commit_callbacks(execute=True):
        end(first, states.SUCCEED)

    assert second.pk.hex in pushed(redis_clean)


def test_jobs_without_followers_cost_no_further_statement(django_assert_num_queries):
    first = tasks.add.enqueue(1, 1)
    [claimed] = moves.claim([first.pk], worker=first.pk, slot=1)

    with django_assert_num_queries(1 if moves.statements("default").__name__.endswith("postgresql") else 3):
        record(claimed, states.SUCCEED)


def test_the_chore_settles_what_others_left():
    first, gone = tasks.add.enqueue(1, 1), tasks.add.enqueue(2, 2)
    second, orphan = first.then(tasks.add.s(RESULT, 1)), gone.then(tasks.add.s(1, 1))
    waiting = tasks.add.enqueue(3, 3).then(tasks.add.s(1, 1))
    gone.delete()
    # As a worker does that knows no followers.
    Job.objects.filter(pk=first.pk).update(state=states.SUCCEEDED, finished_at=db_now(), return_value=2)

    assert settle() == 1

    assert (state(second), second.args, state(waiting)) == (states.QUEUED, [2, 1], states.SCHEDULED)
    assert (state(orphan), orphan.reason) == (states.CANCELLED, moves.ORPHANED)


def test_a_rolled_back_follower_never_was():
    first = tasks.add.enqueue(1, 1)

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        first.then(tasks.add.s(1, 1))
        raise ZeroDivisionError

    end(first, states.SUCCEED)
    assert Job.objects.count() == 1


def test_then_refuses_what_cannot_be_meant():
    job = tasks.add.enqueue(1, 1)

    with pytest.raises(TypeError, match=r"then\(\) takes what task\.s\(\.\.\.\) returns"):
        job.then(tasks.add)
    with pytest.raises(TypeError, match="got an unexpected argument 'c'"):
        job.then(tasks.add.s(1, c=2))
    with pytest.raises(InvalidTask, match="a job that follows another cannot have a run_after"):
        job.then(tasks.add.using(run_after=db_now()).s(1, 1))
    job.delete()
    with pytest.raises(Job.DoesNotExist, match="nothing can follow it"):
        Job(task_path="x").then(tasks.add.s(1, 1))


def test_options_of_the_call_are_kept():
    follower = tasks.add.enqueue(1, 1).then(tasks.add.using(queue_name="mail", priority=7).s(1, 1))

    assert (follower.queue_name, follower.priority) == ("mail", 7)


@pytest.mark.django_db(transaction=True)
def test_athen_does_the_same():
    async def both() -> tuple[Job, Job]:
        first = await tasks.add.aenqueue(1, 1)
        return first, await first.athen(tasks.add.s(1, 1))

    first, second = async_to_sync(both)()

    assert second.parent == first.pk


# Callbacks


def ids(name: str) -> list:
    return [job.args for job in Job.objects.filter(task_path__endswith=name).order_by("pk")]


@pytest.mark.parametrize(
    ("transition", "name"),
    [(states.SUCCEED, "note_success"), (states.FAIL, "note_failure"), (states.RETRY, "note_retry")],
)
def test_a_callback_is_enqueued_with_the_id_of_the_job(transition, name):
    job = tasks.with_callbacks.enqueue("x")
    Job.objects.filter(pk=job.pk).update(context={"tenant": "a"})

    end(job, transition, of=tasks.with_callbacks, delay=1.0 if transition is states.RETRY else None)

    others = Job.objects.exclude(pk=job.pk)
    assert [(one.name, one.args, one.parent, one.context) for one in others] == [
        (name, [str(job.pk)], job.pk, {"tenant": "a"})
    ]


@pytest.mark.parametrize("transition", [states.STOP, states.DISCARD])
def test_a_job_that_is_cancelled_calls_nobody(transition):
    job = tasks.with_callbacks.enqueue("x")

    end(job, transition, of=tasks.with_callbacks)

    assert Job.objects.count() == 1


def test_a_job_that_lost_too_many_workers_calls_its_on_failure_once():
    job = tasks.with_callbacks.enqueue("x")

    bury(job)
    following.lose([moves.Held(job.pk, 1)], cause="killed")

    assert ids("note_failure") == [[str(job.pk)]]


def test_an_outcome_of_a_lost_claim_calls_nobody():
    job = tasks.with_callbacks.enqueue("x")
    [claimed] = moves.claim([job.pk], worker=job.pk, slot=1)
    Job.objects.filter(pk=job.pk).update(claim=9)

    assert record(claimed, states.SUCCEED, of=tasks.with_callbacks) == set()

    assert Job.objects.count() == 1


def test_a_callback_that_cannot_be_enqueued_does_not_cost_the_outcome(settings, caplog):
    job = tasks.with_callbacks.enqueue("x")
    settings.DJANGO_JOBS = {"QUEUES": ["other"]}

    end(job, states.SUCCEED, of=tasks.with_callbacks)

    assert state(job) == states.SUCCEEDED
    assert f"note_success cannot be enqueued about job {job.pk}" in caplog.text


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ("tests.app.tasks.add", "on_failure is 'tests.app.tasks.add'; it must be a task that stands above"),
        (tasks.add, r"on_failure is called with the job's id, but add takes \(a, b\)"),
    ],
)
def test_a_callback_is_a_task_that_takes_an_id(callback, message):
    with pytest.raises(InvalidTask, match=message):
        task(on_failure=callback)(tasks.effect.func)


# With real workers


@pytest.mark.django_db(transaction=True)
def test_a_chain_with_callbacks_runs(worker):
    first = tasks.add.enqueue(1, 2)
    last = first.then(tasks.add.s(RESULT, 4)).then(tasks.with_callbacks.s(RESULT))
    failing = tasks.with_callbacks.enqueue("fail")
    after_failing = failing.then(tasks.effect.s("never"))

    worker("--threads", "2")

    assert last.wait(30).state == states.SUCCEEDED
    assert last.args == [7]
    assert failing.wait(30).state == states.FAILED
    assert after_failing.wait(30).state == states.CANCELLED
    said = {f"success {last.pk}", f"retry {failing.pk}", f"failure {failing.pk}"}
    wait_for(lambda: said == set(Effect.objects.values_list("key", flat=True)), 30, "the callbacks")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["before_record", "before_follow", "before_push", "after_record"])
def test_what_follows_is_enqueued_once_though_the_worker_is_killed(worker, tmp_path, name):
    job = tasks.with_callbacks.enqueue("x")
    follower = job.then(tasks.effect.s("followed"))
    once = tmp_path / "once"

    running = worker(DJANGO_JOBS_FAILPOINT=f"{name}=crash!{once}")
    wait_for(Path(once).exists, 30, "the failpoint")

    assert follower.wait(60).state == states.SUCCEEDED
    wait_for(lambda: Effect.objects.filter(key=f"success {job.pk}").exists(), 30, "the callback")
    assert running.process.poll() is None
    assert sorted(Effect.objects.values_list("key", flat=True)) == ["followed", f"success {job.pk}"]
    assert (state(job), Job.objects.count()) == (states.SUCCEEDED, 3)
