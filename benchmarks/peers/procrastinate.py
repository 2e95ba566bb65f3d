"""Procrastinate as a Django app: jobs and outcomes in PostgreSQL, workers woken by LISTEN."""

from __future__ import annotations

import sys

from django.db import connection
from procrastinate.contrib.django import app

from benchmarks import work

BODIES = (work.noop, work.sleep, work.async_sleep, work.query)
TASKS = {body.__name__: app.task(name=body.__name__)(body) for body in BODIES}
COMMAND = [sys.executable, "-m", "benchmarks.manage", "procrastinate", "worker"]


def enqueue(work, number, payload):
    TASKS[work].defer(number=number, payload=payload)


def enqueue_many(work, numbers, payload):
    TASKS[work].batch_defer(*({"number": number, "payload": payload} for number in numbers))


def worker(processes, threads, is_async=False):
    return [[*COMMAND, "--concurrency", str(threads or 100)]] * processes


def recorded():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM procrastinate_jobs WHERE status = 'succeeded'")
        return cursor.fetchone()[0]


def clear():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE procrastinate_jobs CASCADE")
