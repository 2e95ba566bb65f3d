"""Waiting for a job from the code that enqueued it."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, transaction

from django_jobs import cancel, states
from django_jobs.models import Job
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_wait_returns_the_job_in_whatever_final_state(redis_clean):
    job = tasks.add.enqueue(1, 1)
    cancel(job)

    waited = job.wait(1)

    assert waited is job
    assert (job.state, job.is_finished, job.status) == (states.CANCELLED, True, "FAILED")


def test_wait_gives_up_after_its_timeout(redis_clean):
    job = tasks.add.enqueue(1, 1)

    with pytest.raises(TimeoutError, match=rf"job {job.id} \(add\) is still queued after 0 s"):
        job.wait(timeout=0)


def test_waiting_inside_the_transaction_that_enqueued_is_a_mistake(redis_clean):
    with transaction.atomic():
        job = tasks.add.enqueue(1, 1)
        with pytest.raises(RuntimeError, match=r"Leave the atomic\(\) block first"):
            job.wait(0)


def test_waiting_inside_another_transaction_is_none(redis_clean):
    with transaction.atomic():
        job = tasks.add.enqueue(1, 1)

    with transaction.atomic(), pytest.raises(TimeoutError):
        job.wait(0)


def test_wait_async_does_the_same(redis_clean):
    job = tasks.add.enqueue(1, 1)

    async def wait() -> Job:
        with pytest.raises(TimeoutError):
            await job.wait_async(0)
        await sync_to_async(cancel)(job)
        return await job.wait_async(1)

    assert async_to_sync(wait)().state == states.CANCELLED


def test_a_damaged_argument_does_not_keep_a_job_from_being_looked_at(redis_clean):
    job = tasks.add.enqueue(1, 1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_jobs_job SET args = 'damaged'")

    job.refresh()

    assert job.state == states.QUEUED
