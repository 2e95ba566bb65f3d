"""Dramatiq through Redis with its default middleware, and eight threads in each process, its default."""

from __future__ import annotations

import sys

import django
import dramatiq
from django.conf import settings
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware.asyncio import AsyncIO

from benchmarks import work

django.setup()
dramatiq.set_broker(RedisBroker(url=settings.REDIS))
dramatiq.get_broker().add_middleware(AsyncIO())

BODIES = (work.noop, work.sleep, work.async_sleep, work.query)
ACTORS = {body.__name__: dramatiq.actor(body) for body in BODIES}
COMMAND = [sys.executable, "-m", "dramatiq", "benchmarks.peers.dramatiq"]


def enqueue(work, number, payload):
    ACTORS[work].send(number, payload)


enqueue_many = None


def worker(processes, threads, is_async=False):
    threads = 100 if is_async else threads or 8  # a thread waits for each coroutine
    return [[*COMMAND, "--processes", str(processes), "--threads", str(threads)]]


def recorded():
    return None


def clear():
    pass
