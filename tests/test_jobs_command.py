"""``manage.py jobs``: what operators do from a shell."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from django_jobs import enqueue, states
from django_jobs.models import Job, Queue, Schedule, Worker, db_now
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def no_queue_is_known(monkeypatch, patience):
    """Forget the queues of other tests: this process believes that their rows are still there."""
    monkeypatch.setattr(enqueue, "_known_queues", set())


def jobs(*arguments: str) -> dict:
    out = StringIO()
    call_command("jobs", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def fail_all() -> None:
    Job.objects.update(state=states.FAILED, finished_at="2026-01-01T00:00:00Z")


def test_status_counts_jobs_by_state(redis_clean):
    tasks.add.enqueue(1, 1)
    tasks.add.enqueue(1, 1)

    told = jobs("status")

    assert (told["queued"], told["failed"], told["workers"]) == (2, 0, [])


def test_retry_queues_the_failed_jobs_of_a_task_again(redis_clean):
    mine, other = tasks.add.enqueue(1, 1), tasks.fail.enqueue()
    fail_all()

    assert jobs("retry", "--task", "tests.app.tasks.add", "--dry-run") == {"would_change": 1}
    assert jobs("retry", "--task", "tests.app.tasks.add") == {"changed": 1}

    mine.refresh(), other.refresh()
    assert (mine.state, other.state) == (states.QUEUED, states.FAILED)


def test_more_than_a_chunk_is_retried_to_the_last_one(redis_clean):
    tasks.add.enqueue_many([{"a": 1, "b": 1}] * 1_500)
    fail_all()

    assert jobs("retry", "--all") == {"changed": 1_500}
    assert not Job.objects.exclude(state=states.QUEUED).exists()


def test_cancel_takes_ids(redis_clean):
    one, other = tasks.add.enqueue(1, 1), tasks.add.enqueue(1, 1)

    assert jobs("cancel", str(one.pk)) == {"changed": 1}

    one.refresh(), other.refresh()
    assert (one.state, other.state) == (states.CANCELLED, states.QUEUED)


def test_a_verb_that_changes_many_wants_to_be_told_which():
    with pytest.raises(CommandError, match="or say --all"):
        jobs("retry")


def test_prune_deletes_what_is_kept_no_longer(redis_clean):
    kept, old = tasks.add.enqueue(1, 1), tasks.add.enqueue(1, 1)
    fail_all()
    Job.objects.filter(pk=old.pk).update(prune_at="2026-01-02T00:00:00Z")

    assert jobs("prune")["deleted"] == 1

    assert list(Job.objects.all()) == [kept]


def test_schedules_are_listed_with_their_next_run():
    Schedule.objects.create(name="hourly", task_path="tests.app.tasks.add", cron="0 * * * *")

    told = jobs("schedules")

    assert told["hourly"]["rule"] == "0 * * * *"
    assert told["hourly"]["next"] is not None


def test_pause_and_resume_are_kept_in_the_database(redis_clean):
    assert jobs("pause", "mail", "--reason", "the provider is down") == {"paused": 1}
    queue = Queue.objects.get(name="mail")
    assert queue.paused_at is not None and queue.reason == "the provider is down"

    assert jobs("resume", "mail") == {"resumed": 1}
    queue.refresh_from_db()
    assert queue.paused_at is None


def test_a_moment_that_is_none_is_refused_with_an_example():
    with pytest.raises(CommandError, match="is not a time such as"):
        jobs("cancel", "--before", "yesterday")


def test_rebuild_empties_our_keys_and_nobody_elses(redis_clean):
    redis_clean.set("somebody's", "value")
    tasks.add.enqueue(1, 1)

    assert jobs("rebuild") == {"rebuilding": True}

    assert redis_clean.keys("*") == [b"somebody's"]


def test_rebuild_without_redis_says_so(settings):
    settings.DJANGO_JOBS = {"CACHE": None}

    with pytest.raises(CommandError, match="CACHE is None"):
        jobs("rebuild")


def alive(**values) -> Worker:
    return Worker.objects.create(
        id=uuid4(), host="web-1", pid=1, alive_until=db_now() + timedelta(hours=1), queues=["default"], **values
    )


def reasons(job: Job) -> str:
    return " | ".join(jobs("explain", str(job.pk))["because"])


def test_health_is_good_when_nothing_is_due(redis_clean):
    assert jobs("health") == {"healthy": True, "problems": []}


def test_health_names_a_queue_that_nobody_listens_to(redis_clean):
    alive()
    tasks.add.using(queue_name="mail").enqueue(1, 1)
    out = StringIO()

    with pytest.raises(SystemExit) as ended:
        call_command("jobs", "health", "--json", stdout=out)

    assert ended.value.code == 1
    assert 'No worker listens to "mail"' in json.loads(out.getvalue())["problems"][0]


def test_health_names_a_queue_in_which_nothing_moves(redis_clean):
    alive()
    job = tasks.add.enqueue(1, 1)
    Job.objects.filter(pk=job.pk).update(enqueued_at=db_now() - timedelta(minutes=5))

    with pytest.raises(SystemExit):
        jobs("health")


def test_health_says_by_whom_and_why_a_queue_is_paused_in_which_jobs_wait(redis_clean):
    alive()
    tasks.add.using(queue_name="mail").enqueue(1, 1)
    Queue.objects.update_or_create(
        name="mail", defaults={"paused_at": db_now(), "paused_by": "ann", "reason": "the provider is down"}
    )
    out = StringIO()

    with pytest.raises(SystemExit):
        call_command("jobs", "health", "--json", stdout=out)

    (problem,) = json.loads(out.getvalue())["problems"]
    assert problem.startswith('Queue "mail" is paused since')
    assert "by ann" in problem and problem.endswith("the provider is down")


def test_health_says_that_redis_is_away(settings):
    settings.CACHES = {"default": {**settings.CACHES["default"], "LOCATION": "redis://127.0.0.1:1/0"}}
    out = StringIO()

    with pytest.raises(SystemExit):
        call_command("jobs", "health", stdout=out)

    assert "Redis at 127.0.0.1:1/0 does not answer" in out.getvalue()


def test_explain_tells_why_a_job_is_not_running(redis_clean):
    Queue.objects.create(name="mail", paused_at=db_now(), paused_by="ann", reason="the provider is down")
    first = tasks.add.using(queue_name="mail").enqueue(1, 1)
    job = tasks.add.using(queue_name="mail").enqueue(1, 1)

    told = reasons(job)

    assert "1 jobs of its queue stand before it" in told
    assert 'queue "mail" is paused' in told and "by ann: the provider is down" in told
    assert 'no worker that is alive listens to "mail"' in told
    assert "stand before it" not in reasons(first)


def test_explain_tells_until_when_a_job_waits_and_what_is_unknown(redis_clean):
    alive()
    job = tasks.add.using(run_after=timedelta(hours=2)).enqueue(1, 1)
    Job.objects.update(task_path="shop.tasks.of_tomorrow")

    told = reasons(job)

    assert "in 1 h 59 min" in told or "in 2 h" in told
    assert "the task shop.tasks.of_tomorrow is not known here" in told


def test_explain_names_the_job_that_a_follower_waits_for(redis_clean):
    first = tasks.add.enqueue(1, 1)

    assert reasons(first.then(tasks.add.s(1, 1))) == f"it follows add {first.pk}, which is queued"


def test_explain_of_a_job_that_nobody_has_is_refused():
    with pytest.raises(CommandError, match="no job has the id"):
        jobs("explain", str(uuid4()))


def test_a_misspelt_queue_or_task_is_refused_with_the_near_name():
    with pytest.raises(CommandError, match='Did you mean "mail"'):
        jobs("pause", "mial")
    with pytest.raises(CommandError, match=r"Did you mean tests\.app\.tasks\.add"):
        jobs("retry", "--task", "add")
