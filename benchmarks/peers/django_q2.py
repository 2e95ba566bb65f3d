"""django-q2 with all outcomes kept; through Redis, or as django-q2-orm through PostgreSQL alone."""

from __future__ import annotations

import sys

from django.db import connection
from django_q.tasks import async_task

COMMAND = [sys.executable, "-m", "benchmarks.manage", "qcluster"]


def enqueue(work, number, payload):
    async_task(f"benchmarks.work.{work}", number, payload)


enqueue_many = None


def worker(processes, threads, is_async=False):
    return [["env", f"BENCH_WORKERS={processes * (threads or 1)}", *COMMAND]]


def recorded():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_q_task WHERE success")
        return cursor.fetchone()[0]


def clear():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_q_task, django_q_ormq")
