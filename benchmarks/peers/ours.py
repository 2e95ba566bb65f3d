"""django_jobs with its default settings: rows in PostgreSQL, ids through Redis, every outcome recorded."""

from __future__ import annotations

import sys
import time

from django.db import connection

from benchmarks import work
from django_jobs import broker, task

TASKS = {body.__name__: task(body) for body in (work.noop, work.sleep, work.async_sleep, work.query)}
MANAGE = [sys.executable, "-m", "benchmarks.manage"]


def enqueue(work, number, payload):
    TASKS[work].enqueue(number, payload)


def enqueue_many(work, numbers, payload):
    one = TASKS[work]
    one.enqueue_many([one.s(number, payload) for number in numbers])


def worker(processes, threads, is_async=False):
    return [[*MANAGE, "runworker", "--processes", str(processes), "--threads", str(threads or 1)]]


def everything():
    return [[*MANAGE, "runworker"]]


def recorded():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_jobs_job WHERE state = 'succeeded'")
        return cursor.fetchone()[0]


def clear():
    with connection.cursor() as cursor:
        cursor.execute("TRUNCATE django_jobs_job, django_jobs_attempt")
    broker.for_worker().drop("default")


# Only ours: a clock around the steps of enqueue()


def moments(count, pause):
    """Hand over jobs, each after a pause; yield when each call began, and when what began and ended; monotonic."""
    from django_jobs.sql import postgresql

    taken = []
    for owner, name, what in ((postgresql, "insert", "insert"), (broker, "try_push", "push")):
        setattr(owner, name, clocked(getattr(owner, name), what, taken))
    for number in range(count):
        time.sleep(pause)
        taken.clear()
        began = time.monotonic()
        enqueue("noop", number, "")
        yield began, list(taken)


def clocked(step, what, taken):
    def timed(*args, **kwargs):
        began = time.monotonic()
        try:
            return step(*args, **kwargs)
        finally:
            taken.append((what, began, time.monotonic()))

    return timed


# Only ours: queues and tables of any size


def waiting():
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM django_jobs_job WHERE state = 'queued'")
        return cursor.fetchone()[0]


def multiply(count, finished):
    """Make ``count`` rows like the single one that there is: waiting, with numbers from 1, or finished by now.

    What finished did so at intervals of a tenth of a second. What waits is pushed to Redis.
    """
    from django_jobs.models import Job

    columns = {field.column: field.column for field in Job._meta.concrete_fields}
    columns["id"] = "uuidv7()"
    columns["args"] = "replace(args, '[0,', '[' || n || ',')"
    if finished:
        columns |= {name: f"{name} - n * interval '0.1 s'" for name in ("enqueued_at", "finished_at", "prune_at")}
    sql = f"""
        INSERT INTO django_jobs_job ({", ".join(columns)})
        SELECT {", ".join(columns.values())}
        FROM (SELECT * FROM django_jobs_job LIMIT 1) AS template, generate_series(1, {int(count)}) AS n
        RETURNING id
    """
    with connection.cursor() as cursor:
        if finished:
            cursor.execute(sql.replace("RETURNING id", ""))
            return
        cursor.execute(sql)
        waiting = [broker.Waiting("default", 0, id.hex) for (id,) in cursor.fetchall()]
    broker.for_worker().push(waiting)
