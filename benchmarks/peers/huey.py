"""Huey through Redis with a blocking read and no results; one consumer with workers that are processes."""

from __future__ import annotations

import sys
from pathlib import Path

import django
from django.conf import settings
from huey import RedisHuey

from benchmarks import work

django.setup()
huey = RedisHuey("benchmarks", url=settings.REDIS, results=False, blocking=True)
TASKS = {body.__name__: huey.task()(body) for body in (work.noop, work.sleep, work.query)}
CONSUMER = str(Path(sys.executable).with_name("huey_consumer"))


def enqueue(work, number, payload):
    TASKS[work](number, payload)


enqueue_many = None


def worker(processes, threads, is_async=False):
    return [[CONSUMER, "benchmarks.peers.huey.huey", "-w", str(processes * (threads or 1)), "-k", "process", "-q"]]


def recorded():
    return None


def clear():
    pass
