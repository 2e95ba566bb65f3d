"""What happens to Redis costs no job: killed, emptied, frozen, full, restored from an old copy, or away."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from django_jobs import broker, health, states
from django_jobs.models import Job
from django_jobs.scheduler import epoch
from tests.app import tasks
from tests.faults.conftest import enqueue_for, waits_on
from tests.faults.proxy import Proxy
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]


@contextlib.contextmanager
def recovery(valkey, seconds: float = 20) -> Iterator[None]:
    """Fail unless the worker is fed by Redis again in time after the inside; print when that was."""
    yield
    began = time.monotonic()
    with valkey.client() as client:
        wait_for(lambda: waits_on(client), seconds, "the worker to be fed by Redis again")
    print(f"fed by Redis again after {time.monotonic() - began:.1f} s")


@pytest.fixture
def fed(worker, valkey, log):
    """A worker that waits for work from Redis."""
    running = worker().ready()
    with valkey.client() as client:
        wait_for(lambda: waits_on(client), 20, "the worker to be fed by Redis")
    yield running
    assert running.process.poll() is None, running.output


def test_killed_and_empty_again_and_again_under_load(fed, valkey, all_is_well):
    for _ in range(2):
        enqueue_for(0.3)
        valkey.kill()
        enqueue_for(0.5)
        valkey.start()

    with recovery(valkey):
        enqueue_for(0.3)
    all_is_well()


def test_emptied_again_and_again_under_load(fed, valkey, all_is_well):
    with valkey.client() as client:
        for _ in range(8):
            client.flushall()
            enqueue_for(0.2)

    with recovery(valkey):
        client.flushall()
    all_is_well()


def test_scripts_flushed_again_and_again_under_load(fed, valkey, all_is_well):
    with valkey.client() as client:
        for _ in range(20):
            client.script_flush()
            enqueue_for(0.05)

    all_is_well()
    assert "Redis at" not in fed.output.partition("ready in")[2]  # nobody has noticed


def test_frozen_under_load(fed, valkey, all_is_well):
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 50)
    valkey.pause()
    began = time.monotonic()
    tasks.log_start_and_end.enqueue(0).wait(20)
    print(f"by the database after {time.monotonic() - began:.1f} s")
    enqueue_for(2)
    tasks.log_start_and_end.enqueue(0).wait(20)

    with recovery(valkey):
        valkey.resume()
    all_is_well()


@pytest.mark.parametrize("age", ["younger than the epoch", "older than the epoch"])
def test_restored_from_an_old_copy(worker, valkey, log, all_is_well, age):
    done = [tasks.log_start_and_end.enqueue(0) for _ in range(20)]
    late = tasks.log_start_and_end.using(priority=5).enqueue(0)
    with valkey.client() as client:
        client.save()
    running = worker().ready()
    for job in [*done, late]:
        job.wait(20)
    if age.startswith("older"):
        epoch.change()
    broker._producers.clear()

    valkey.kill()
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 30)
    valkey.start()  # reads the copy
    (valkey.folder / "dump.rdb").unlink()

    all_is_well()
    assert not Job.objects.exclude(state=states.SUCCEEDED, attempt=1).exists()
    assert running.process.poll() is None


def test_full_and_refusing_writes(fed, valkey, patience, all_is_well):
    with valkey.client() as client:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 1)
        enqueue_for(0.5)
        last = tasks.log_start_and_end.enqueue(0)

        last.wait(20)
        problems = list(health.redis_problems())

        client.config_set("maxmemory", 0)
        with recovery(valkey):
            enqueue_for(0.1)
    all_is_well()
    assert ["refuses what is written" in problem.what for problem in problems] == [True]
    assert not list(health.redis_problems())


def test_full_and_evicting_what_it_likes(fed, valkey, all_is_well):
    with valkey.client() as client:
        client.config_set("maxmemory-policy", "allkeys-random")
        try:
            for _ in range(5):
                client.config_set("maxmemory", client.info("memory")["used_memory"] - 10_000)
                enqueue_for(0.2)
                client.config_set("maxmemory", 0)
                enqueue_for(0.1)
        finally:
            client.config_set("maxmemory", 0)
            client.config_set("maxmemory-policy", "noeviction")

    all_is_well(seconds=45)


# Away while a site enqueues


@pytest.fixture
def proxy(redis_clean, settings) -> Iterator[Proxy]:
    parts = urlsplit(os.environ["DJANGO_JOBS_TEST_REDIS"])
    with Proxy(parts.hostname, parts.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}/0"
        settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
        yield proxy


def test_a_site_that_enqueues_while_redis_keeps_silent_tries_it_now_and_then(proxy):
    broker.try_push([broker.Waiting("default", 0, "a")])
    proxy.delay = 60
    began, waits = time.monotonic(), []

    while time.monotonic() < began + 2:
        before = time.monotonic()
        tasks.add.enqueue(1, 2)
        waits.append(time.monotonic() - before)

    assert proxy.connections <= 1 + 3  # at once, then after pauses of 0.5 and 1 s
    assert len(waits) > 10 * proxy.connections
    assert max(waits) < 2  # 0.3 s, and what a busy machine adds


def test_lost_pushes_are_made_good(fed, proxy, all_is_well):
    proxy.refuse()
    began = time.monotonic()
    jobs = [tasks.log_start_and_end.enqueue(0) for _ in range(10)]

    for job in jobs:
        job.wait(20)

    print(f"lost pushes repaired after {time.monotonic() - began:.1f} s")
    all_is_well()
