"""Celery through Redis, prefetching as its guide to optimising says for short tasks, with results ignored.

The pool is prefork, the default. celery-solo is several workers, each with the solo or the threads pool,
which spares the way from parent to child. celery-results is celery with each result stored in PostgreSQL by
django-celery-results.
"""

from __future__ import annotations

import itertools
import os
import sys

from celery import Celery
from django.conf import settings

from benchmarks import work

app = Celery("benchmarks")
app.conf.update(
    broker_url=settings.REDIS,
    broker_connection_retry_on_startup=True,
    worker_prefetch_multiplier=64,
    worker_disable_rate_limits=True,
    task_ignore_result=True,
    CELERY_DB_REUSE_MAX=100_000,  # else it connects to the database at each task
)
if settings.PEER.name == "celery-results":
    app.conf.update(result_backend="django-db", task_ignore_result=False)

TASKS = {body.__name__: app.task(name=body.__name__)(body) for body in (work.noop, work.sleep, work.query)}
COMMAND = [sys.executable, "-m", "celery", "-A", "benchmarks.peers.celery"]
_numbers = itertools.count()
FOLDER = os.environ["BENCH_FOLDER"]


def enqueue(work, number, payload):
    TASKS[work].delay(number, payload)


enqueue_many = None


def worker(processes, threads, is_async=False):
    if settings.PEER.name != "celery-solo":
        return [_command("--concurrency", str(processes * (threads or 1)))]
    pool = ["--pool", "threads", "--concurrency", str(threads)] if threads else ["--pool", "solo"]
    return [_command(*pool) for _ in range(processes)]


def _command(*options):
    return [*COMMAND, "worker", "--hostname", f"{next(_numbers)}@%h", *options]  # each worker needs its own name


def everything():
    return [*worker(1, None), [*COMMAND, "beat", "--pidfile=", "--schedule", f"{FOLDER}/beat-schedule"]]


def recorded():
    if settings.PEER.name != "celery-results":
        return None
    from django_celery_results.models import TaskResult  # here: only celery-results has the app

    return TaskResult.objects.filter(status="SUCCESS").count()


def clear():
    if settings.PEER.name == "celery-results":
        from django_celery_results.models import TaskResult  # here: only celery-results has the app

        TaskResult.objects.all()._raw_delete("default")
