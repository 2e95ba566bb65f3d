"""Waiting for a job from the code that enqueued it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import connection, connections, transaction
from redis import Redis

from django_jobs import broker, cancel, states, waiting
from django_jobs.models import Job, db_now
from django_jobs.worker.source import Source
from tests.app import tasks
from tests.services import wait_for

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


# The bell


@pytest.fixture
def only_the_bell(monkeypatch, redis_clean):
    """Let nobody look at the row but at the beginning, and when woken."""
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 60.0)
    return redis_clean


def ring(job: Job) -> None:
    """End a job and tell that, as a worker does that has been told that somebody waits."""
    Job.objects.filter(pk=job.pk).update(state=states.SUCCEEDED, finished_at=db_now())
    broker.for_waiting().tell_ended([job.pk.hex])


def in_thread(function, *args) -> threading.Thread:
    def run() -> None:
        function(*args)
        connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def is_awaited(redis: Redis, job: Job, count: int = 1) -> Callable[[], bool]:
    return lambda: int(redis.info("clients")["blocked_clients"]) >= count and bool(redis.keys(f"*awaited:{job.pk.hex}"))


def test_a_waiting_one_is_woken_by_the_bell_alone(only_the_bell):
    job = tasks.add.enqueue(1, 1)
    waiting_one = in_thread(job.wait, 50)
    wait_for(is_awaited(only_the_bell, job), 20, "somebody to wait")

    ring(job)

    waiting_one.join(20)
    assert not waiting_one.is_alive()
    assert job.state == states.SUCCEEDED


def test_all_who_wait_for_a_job_are_woken(only_the_bell):
    job = tasks.add.enqueue(1, 1)
    others = [Job.objects.get(pk=job.pk) for _ in range(3)]
    threads = [in_thread(one.wait, 50) for one in others]
    wait_for(is_awaited(only_the_bell, job, count=3), 20, "three to wait")

    ring(job)

    for thread in threads:
        thread.join(20)
    assert [one.state for one in others] == [states.SUCCEEDED] * 3


def test_waiting_async_is_woken_as_well(only_the_bell):
    job = tasks.add.enqueue(1, 1)

    async def both() -> Job:
        waiting_one = asyncio.create_task(job.wait_async(50))
        await sync_to_async(wait_for, thread_sensitive=False)(is_awaited(only_the_bell, job), 20, "somebody to wait")
        await sync_to_async(ring)(await Job.objects.aget(pk=job.pk))
        return await waiting_one

    assert async_to_sync(both)().state == states.SUCCEEDED


def test_a_token_of_an_earlier_end_wakes_without_harm(redis_clean):
    job = tasks.add.enqueue(1, 1)
    broker.for_waiting().await_end(job.pk.hex)
    broker.for_waiting().tell_ended([job.pk.hex])

    with pytest.raises(TimeoutError):
        job.wait(0.2)


@pytest.mark.parametrize("cache", ["default", None])
def test_a_job_is_waited_for_with_and_without_redis(worker, settings, cache):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"CACHE": cache}
    worker(DJANGO_JOBS_TEST_CACHE=cache or "none").ready()

    job = tasks.add.enqueue(2, 3)

    assert job.wait(30).return_value == 5


def test_the_worker_rings_for_those_who_wait(worker, monkeypatch, redis_clean):
    worker("--threads", "2").ready()
    monkeypatch.setattr(waiting, "LOOK_SECONDS", 60.0)

    jobs = [tasks.sleep.enqueue(0.7, "a"), tasks.add.enqueue(1, 1), tasks.sleep.enqueue(0.3, "b")]

    assert [job.wait(50).state for job in jobs] == [states.SUCCEEDED] * 3


def test_while_redis_is_away_the_row_is_looked_at(valkey, redis_clean):
    job = tasks.add.enqueue(1, 1)
    valkey.kill()
    ender = in_thread(lambda: Job.objects.filter(pk=job.pk).update(state=states.FAILED, finished_at=db_now()))

    assert job.wait(30).state == states.FAILED
    ender.join()


def test_a_worker_asks_nobody_who_waits_while_nobody_does(redis_clean):
    source = Source("taker:1", ("default",))
    source.take(1)

    def calls() -> int:
        stats = redis_clean.info("commandstats")
        return stats.get("cmdstat_evalsha", {"calls": 0})["calls"]

    before = calls()
    source.ended([uuid4() for _ in range(100)])
    source.take(1)
    assert calls() == before + 1

    id = uuid4()
    broker.for_waiting().await_end(id.hex)
    source.ended([id])
    source.take(1)
    assert redis_clean.llen(f"{{django_jobs:1}}:ended:{id.hex}") == 1
    source.leave()
