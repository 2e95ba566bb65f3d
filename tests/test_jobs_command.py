"""``manage.py jobs``: what operators do from a shell."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_jobs import states
from django_jobs.models import Job, Queue, Schedule
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


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
