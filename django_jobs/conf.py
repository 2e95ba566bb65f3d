"""Settings: the one dict DJANGO_JOBS, read when first used and again after each change (override_settings)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from functools import cached_property
from itertools import chain
from typing import Any

from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

SETTING = "DJANGO_JOBS"

# Fixed, not settings: recovery times are promised, and two workers must agree on them.
BEAT_SECONDS = 2.0  # a worker says that it is alive
LEASE_SECONDS = 6.0  # without a beat for so long, a worker is given up for dead
SQLITE_IDLE_BEAT_SECONDS = 60.0  # an idle worker on SQLite must not keep the writers' lock busy

QUEUE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}\Z")
LABEL_LENGTH = 200  # characters
LABEL = re.compile(rf"[^\0\ud800-\udfff]{{1,{LABEL_LENGTH}}}\Z")  # what every database can store


class Option:
    """One setting: its default; the name is the attribute's."""

    def __init__(self, default: Any):
        self.default = default

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Any:
        if instance is None:
            return self
        given = getattr(django_settings, SETTING, {})
        value = given.get(self.name, self.default) if isinstance(given, dict) else self.default  # a check tells
        vars(instance)[self.name] = value  # found there from now on: a body in a worker needs six of them
        return value


class Settings:
    """Every setting of django_jobs with its default. Durations are seconds or a timedelta."""

    CACHE = Option("default")  # str: alias in CACHES of a django-redis cache; None: no Redis at all
    PREFIX = Option("django_jobs")  # str: what our keys in Redis begin with
    DATABASE = Option(None)  # str: alias of our tables; None: the router's write database for Job
    QUEUES = Option(["default"])  # list of str: the known queues; []: any name
    TASK_MODULES = Option(["tasks"])  # list of str: modules looked for in every app
    PROCESSES = Option(1)  # int: children per worker; 0: everything in one process
    THREADS = Option(1)  # int: bodies at a time in each child
    ASYNC_SLOTS = Option(100)  # int: async bodies at a time in each child
    MAX_ATTEMPTS = Option(1)  # int: tries of a body that fails; None: no limit
    MAX_LOSSES = Option(3)  # int: deaths of a worker that a job may live through
    BACKOFF = Option(None)  # None, seconds, list of seconds, or callable (exception, job) -> seconds or None
    TIMEOUT = Option(3600)  # duration: how long a body may run; None: for ever
    HARD_TIMEOUT_AFTER = Option(10)  # duration: from TaskTimeout in the body to the end of its process
    GRACE = Option(25)  # duration: how long a stopping worker waits for running bodies
    RETENTION = Option({})  # dict of state -> duration or None (for ever), over DEFAULT_RETENTION
    KEEP_COUNTERS = Option(timedelta(days=30))  # duration: how long counts by the hour are kept; None: for ever
    MAX_ARGS_BYTES = Option(1024 * 1024)  # int: encoded args and kwargs together
    MAX_RESULT_BYTES = Option(1024 * 1024)  # int: encoded return value
    SENSITIVE = Option(
        [
            *("password", "passwd", "passphrase", "passcode", "pwd", "secret", "token", "jwt", "authorization"),
            *("credential", "api_key", "access_key", "private_key", "secret_key"),
            *("card", "card_number", "credit_card", "debit_card", "cvv", "cvc"),
        ]
    )  # list of str: words of argument names shown as "hidden"
    UNKNOWN_TASK_AFTER = Option(timedelta(days=1))  # duration: how long a job waits for a worker that knows its task
    MIDDLEWARE = Option([])  # list of str: dotted paths of wrappers around enqueue and execute

    @cached_property
    def retention(self) -> dict[str, float | None]:
        """Return state -> seconds to keep a finished job, or None for ever."""
        return {state: seconds(keep) for state, keep in (DEFAULT_RETENTION | self.RETENTION).items()}

    @property
    def served_queues(self) -> list[str]:
        """Return QUEUES and those that our backends in TASKS may enqueue to: what a worker serves; []: any."""
        lists = [list(self.QUEUES), *(params.get("QUEUES", ["default"]) for _, params in our_backends())]
        return [] if [] in lists else list(dict.fromkeys(chain.from_iterable(lists)))


DEFAULT_RETENTION = {
    "succeeded": timedelta(days=7),
    "cancelled": timedelta(days=7),
    "failed": timedelta(days=30),
}

NAMES = [name for name, option in vars(Settings).items() if isinstance(option, Option)]

jobs_settings = Settings()


def _forget(*, setting: str, **signal: Any) -> None:
    if setting == SETTING:
        vars(jobs_settings).clear()


setting_changed.connect(_forget)


def our_backends() -> Iterator[tuple[str, dict[str, Any]]]:
    """Load the backends in TASKS, and yield alias and parameters of those that make jobs."""
    given = getattr(django_settings, "TASKS", None)
    for alias, params in given.items() if isinstance(given, dict) else ():
        with suppress(ImportError, KeyError, TypeError):  # the framework tells
            if getattr(import_string(params["BACKEND"]), "runs_by_worker", False):
                yield alias, params


def seconds(duration: timedelta | float | None) -> float | None:
    """Return a duration, given as seconds or timedelta, in seconds; None stays None."""
    return duration.total_seconds() if isinstance(duration, timedelta) else duration
