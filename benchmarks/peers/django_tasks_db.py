"""django-tasks-db, the database backend of django-tasks; one db_worker for each body at a time."""

from __future__ import annotations

import sys

from django.db import connection
from django_tasks_db.models import DBTaskResult

from benchmarks import work

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task


@task()
def noop(number, payload):
    work.noop(number, payload)


@task()
def sleep(number, payload):
    work.sleep(number, payload)


@task()
def query(number, payload):
    work.query(number, payload)


TASKS = {"noop": noop, "sleep": sleep, "query": query}  # which it finds again by their paths
COMMAND = [sys.executable, "-m", "benchmarks.manage", "db_worker"]


def enqueue(work, number, payload):
    TASKS[work].enqueue(number, payload)


enqueue_many = None


def worker(processes, threads, is_async=False):
    return [COMMAND] * (processes * (threads or 1))


def recorded():
    return DBTaskResult.objects.successful().count()


def clear():
    with connection.cursor() as cursor:
        cursor.execute(f"TRUNCATE {DBTaskResult._meta.db_table}")
