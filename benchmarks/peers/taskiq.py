"""taskiq through a list in Redis, without a result backend."""

from __future__ import annotations

import asyncio
import sys

import django
from django.conf import settings
from taskiq_redis import ListQueueBroker

from benchmarks import work

django.setup()
broker = ListQueueBroker(settings.REDIS)
BODIES = (work.noop, work.sleep, work.async_sleep, work.query)
TASKS = {body.__name__: broker.task(task_name=body.__name__)(body) for body in BODIES}
COMMAND = [sys.executable, "-m", "taskiq", "worker", "benchmarks.peers.taskiq:broker"]

_loop = asyncio.new_event_loop()


def enqueue(work, number, payload):
    _loop.run_until_complete(TASKS[work].kiq(number, payload))


enqueue_many = None


def worker(processes, threads, is_async=False):
    options = ["--log-level", "WARNING", "--max-prefetch", "100", "--max-threadpool-threads", str(threads or 8)]
    return [[*COMMAND, "--workers", str(processes), *options]]


def recorded():
    return None


def clear():
    pass
