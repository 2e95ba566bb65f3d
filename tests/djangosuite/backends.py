"""JobsBackend in the place of Django's two backends, doing as far as the tests need it what those do."""

from __future__ import annotations

import logging
import pickle
import socketserver
import struct
import threading

from django.conf import settings
from django.test import override_settings

from django_jobs.backend import JobsBackend
from django_jobs.models import Job
from tests.services import wait_for


class Unworked(JobsBackend):
    """In the place of DummyBackend: jobs are on a database that the worker does not look at."""

    def enqueue_many(self, task, calls):
        with elsewhere():
            return super().enqueue_many(task, calls)

    def get_result(self, result_id):
        with elsewhere():
            return super().get_result(result_id)

    @property
    def results(self):
        with elsewhere():
            return [self.get_result(pk) for pk in Job.objects.order_by("pk").values_list("pk", flat=True)]

    def clear(self):
        with elsewhere():
            Job.objects.all().delete()


def elsewhere():
    return override_settings(DJANGO_JOBS=settings.DJANGO_JOBS | {"DATABASE": "other", "CACHE": None})


class Worked(JobsBackend):
    """In the place of ImmediateBackend: what it enqueues is finished when ``enqueue()`` returns, by a worker."""

    def enqueue(self, task, args, kwargs):
        result = super().enqueue(task, args, kwargs)
        Job.objects.get(pk=result.id).wait(60)
        wait_for(lambda: has_told_the_end(result.id), 60, "the worker's log to come")
        result.refresh()
        return result


# What the worker logs comes here, so that assertLogs() finds it.

_told: list[str] = []


def has_told_the_end(id: str) -> bool:
    return any(f"id={id} " in line and line.endswith(("=SUCCESSFUL", "=FAILED")) for line in _told)


class LogReceiver(socketserver.StreamRequestHandler):
    """Reads what logging.handlers.SocketHandler sends: a length of four bytes, then a pickled record."""

    def handle(self):
        while len(head := self.rfile.read(4)) == 4:
            record = logging.makeLogRecord(pickle.loads(self.rfile.read(*struct.unpack(">L", head))))
            logger = logging.getLogger(record.name)
            if logger.isEnabledFor(record.levelno):
                logger.handle(record)
            _told.append(record.getMessage())


def receive_logs() -> int:
    """Receive log records in a thread; return the port where they are awaited."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), LogReceiver)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_address[1]


def stand_in() -> None:
    """Replace Django's backends before its tests import them, or name them in settings."""
    from django.tasks.backends import dummy, immediate  # here: Django 5.2 has none

    dummy.DummyBackend, immediate.ImmediateBackend = Unworked, Worked
