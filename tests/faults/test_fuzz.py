"""Whatever is forged under our keys in Redis: a worker lives through it, runs what is due by the rows, and repairs."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import pytest
import redis

from django_jobs import broker, enqueue, states
from django_jobs.models import Job
from django_jobs.scheduler import epoch
from tests.app import tasks
from tests.faults.conftest import PREFIX, waits_on
from tests.faults.invariants import violations
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

SECONDS = 3
SEED = int(os.environ.get("FUZZ_SEED") or random.SystemRandom().randrange(10**6))
JUNK = [b"", b"\0", b"\xff\xfe\n\n", b"-1", b"1e999", b"nan", b"'; DROP TABLE django_jobs_job; --", b"x" * 200_000]


class Forger:
    """Writes what it likes under our keys, by a seed."""

    def __init__(self, client: redis.Redis, seed: int, ids: list[str]):
        self.client = client
        self.chance = random.Random(seed)
        self.ids = [id.encode() for id in ids]

    def forge(self) -> None:
        key = f"{PREFIX}:{self.name()}".encode()
        write = self.chance.choice([self.as_it_should_be, self.of_any_type])
        try:
            write(key)
        except redis.ResponseError:  # another type is there already
            self.client.delete(key)

    def name(self) -> str:
        queue, rank = self.chance.choice(["default", "mail", "no\0ne"]), self.chance.choice([0, 5, -5, "x"])
        kinds = ["queues", "takers", "paused", "epoch", f"known:{queue}", f"lane:{queue}:{rank}", f"ranks:{queue}"]
        return self.chance.choice([*kinds, f"wake:{queue}", f"taken:{self.taker()}"])

    def taker(self) -> str:
        """Return a child of the worker that works, one that it has not, or nobody's."""
        living = [name.decode(errors="ignore") for name in self.members("takers") if b":" in name]
        living = self.chance.choice([*living, self.stranger()])
        return self.chance.choice([living, f"{living.partition(':')[0]}:{self.chance.choice([7, 'x', ''])}", "nobody"])

    def members(self, name: str) -> list[bytes]:
        try:
            return sorted(self.client.smembers(f"{PREFIX}:{name}"))
        except redis.ResponseError:
            return []

    def stranger(self) -> str:
        return UUID(int=self.chance.getrandbits(128)).hex

    def value(self) -> bytes:
        """Return an id of some job, of none, junk, or what a taken list holds."""
        value = self.chance.choice([*self.ids, self.stranger().encode(), *JUNK])
        entry = b"\n".join(
            [self.chance.choice([b"default", b"mail", b"\xff"]), self.chance.choice([b"0", b"y"]), value]
        )
        return self.chance.choice([value, value, entry])

    def as_it_should_be(self, key: bytes) -> None:
        match key.split(b":")[2]:
            case b"lane" | b"wake" | b"taken":
                self.client.rpush(key, self.value(), self.value())
            case b"ranks":
                self.client.zadd(key, {self.value(): self.chance.randrange(-200, 200), b"0": 0})
            case b"epoch":
                self.client.set(key, self.value())
            case _:
                self.client.sadd(key, self.value(), self.taker())

    def of_any_type(self, key: bytes) -> None:
        self.client.delete(key)
        writes: list[Callable[[], object]] = [
            lambda: self.client.set(key, self.value()),
            lambda: self.client.rpush(key, self.value()),
            lambda: self.client.sadd(key, self.value()),
            lambda: self.client.zadd(key, {self.value(): 1}),
            lambda: self.client.hset(key, "field", self.value()),
            lambda: self.client.xadd(key, {"field": self.value()}),
        ]
        self.chance.choice(writes)()


def test_forged_content_starts_nothing_that_is_not_due_and_is_repaired(worker, redis_clean, log, monkeypatch):
    print(f"fuzz for {SECONDS} s, seed {SEED}")
    monkeypatch.setenv("DJANGO_JOBS_TEST_QUEUES", "")  # any that there is, so that their names count, too
    done = [tasks.log_start_and_end.enqueue(0) for _ in range(3)]
    later = [tasks.log_start_and_end.using(run_after=timedelta(hours=1)).enqueue(0) for _ in range(3)]
    cancelled = tasks.log_start_and_end.enqueue(0)
    enqueue.cancel(cancelled)
    running = worker("--threads", "2", DJANGO_JOBS_TEST_HURRY="1").ready()
    for job in done:
        job.wait(20)
    forger = Forger(redis_clean, SEED, [job.id.hex for job in [*done, *later, cancelled]])

    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        forger.ids.append(tasks.log_start_and_end.enqueue(0.005).id.hex.encode())
        for _ in range(5):
            forger.forge()

    def what_is_wrong() -> list[str]:
        wrong = violations(log, redis_clean)
        mine = [f"{job.pk} is scheduled in the end" for job in later]
        return [one for one in wrong if one not in mine and not one.startswith("Redis still holds")]

    wait_for(lambda: not what_is_wrong(), 60, "all that was due to be done")
    assert not Job.objects.filter(state=states.SUCCEEDED).exclude(attempt=1).exists()
    assert Job.objects.filter(pk__in=[job.pk for job in later], state=states.SCHEDULED, attempt=0).count() == 3
    assert Job.objects.get(pk=cancelled.pk).state == states.CANCELLED
    wait_for(lambda: tasks.add.enqueue(1, 2).wait(20) and is_in_order(redis_clean), 30, "Redis to be in order again")
    assert running.process.poll() is None
    assert "Traceback" not in running.output, running.output


def is_in_order(client: redis.Redis) -> bool:
    connected = broker.for_worker()
    try:
        return waits_on(client) and connected.epoch() == epoch.read()[0] and connected.count("default") == (0, 0, 0)
    except broker.AWAY:  # for a moment, on a busy machine
        return False
