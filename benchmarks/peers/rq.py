"""RQ with SimpleWorker in a worker pool: its notes on performance name it the faster one, since it does not fork."""

from __future__ import annotations

import sys
from pathlib import Path

import django
from django.conf import settings
from redis import Redis
from rq import Queue

django.setup()
queue = Queue(connection=Redis.from_url(settings.REDIS))
RQ = str(Path(sys.executable).with_name("rq"))
MODULE = "benchmarks.peers.rq"  # imported by the worker, it sets Django up


def enqueue(work, number, payload):
    queue.enqueue(f"benchmarks.work.{work}", number, payload)


def enqueue_many(work, numbers, payload):
    path = f"benchmarks.work.{work}"
    queue.enqueue_many([Queue.prepare_data(path, (number, payload)) for number in numbers])


def worker(processes, threads, is_async=False):
    pool = ["--num-workers", str(processes * (threads or 1)), "--worker-class", "rq.SimpleWorker"]
    return [[RQ, "worker-pool", "default", "--url", settings.REDIS, "--config", MODULE, "--quiet", *pool]]


def recorded():
    return None


def clear():
    pass
