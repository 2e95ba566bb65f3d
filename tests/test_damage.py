"""Foreign values of the wrong type under our keys in Redis: what enqueues and what works lives through them."""

from __future__ import annotations

from importlib import import_module

import pytest

from django_jobs import broker
from django_jobs.broker import Count
from django_jobs.scheduler.reconcile import Reconcile
from tests.app.tasks import add
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

KEYS = ["queues", "takers", "paused", "epoch", "known:default", "lane:default:0", "ranks:default"]
KEYS += ["wake:default", "wake"]


@pytest.mark.parametrize("key", KEYS)
def test_what_a_foreign_value_has_damaged_is_mended(key, redis_clean, monkeypatch):
    monkeypatch.setattr(import_module("django_jobs.scheduler.reconcile"), "AUDIT_SECONDS", 0)
    job, reconcile, worker = add.enqueue(1, 2), Reconcile(), broker.for_worker()
    reconcile()
    redis_clean.delete(worker.key(key))
    redis_clean.xadd(worker.key(key), {"foreign": "value"})

    def is_mended() -> bool:
        reconcile()
        return redis_clean.type(worker.key(key)) != b"stream" and worker.count("default") == Count(1, 0, 1)

    wait_for(is_mended, 2, "the foreign value to go")
    assert worker.take("w:1", ["default"], 9) == [job.id.hex]


def test_a_queue_whose_name_redis_has_lost_is_named_again(redis_clean, monkeypatch):
    monkeypatch.setattr(import_module("django_jobs.scheduler.reconcile"), "AUDIT_SECONDS", 0)
    job, reconcile, worker = add.enqueue(1, 2), Reconcile(), broker.for_worker()
    reconcile()
    redis_clean.delete(worker.key("queues"))

    wait_for(lambda: reconcile() or worker.queues(), 2, "the name of the queue")

    assert worker.queues() == ["default"]
    assert worker.take("w:1", ["default"], 9) == [job.id.hex]


def test_a_worker_that_has_just_started_does_not_begin_with_all_rows(redis_clean):
    Reconcile()()  # agrees on an epoch
    lost = add.enqueue(1, 2)
    broker.for_worker().drop("default")
    patient = Reconcile(first_after=60)

    assert [patient() for _ in range(3)] == [0, 0, 0]
    patient._round_at = 0.0  # a minute later
    assert sum(patient() for _ in range(3)) == 1
    assert broker.for_worker().take("w:1", ["default"], 5) == [lost.id.hex]
