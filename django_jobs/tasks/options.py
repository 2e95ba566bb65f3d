"""Checks the options of a task, with messages that name the option and say what it takes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from difflib import get_close_matches
from enum import Enum
from math import isfinite
from typing import Any

from django.utils.timezone import is_naive

from .. import codec
from ..conf import LABEL, LABEL_LENGTH, QUEUE_NAME, jobs_settings
from ..exceptions import InvalidTask, NotEncodable
from .base import BaseTask

MIN_PRIORITY, MAX_PRIORITY = -100, 100
MAX_COUNT = 2**31 - 1  # what the column holds
LONGEST = timedelta(days=100 * 365)  # added to today it must still be a date


class Unset(Enum):
    """Stands for an option that was not given: the setting of that name decides, at enqueue."""

    UNSET = "unset"

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset.UNSET


def is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    return is_whole(value) or (isinstance(value, float) and isfinite(value))


def is_duration(value: Any) -> bool:
    return (isinstance(value, timedelta) or is_number(value)) and abs(_seconds(value)) <= LONGEST.total_seconds()


def is_pause(value: Any) -> bool:
    return is_duration(value) and _seconds(value) >= 0


def is_backoff(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return bool(value) and all(map(is_pause, value))
    return value is None or callable(value) or is_pause(value)


def are_exceptions(value: Any) -> bool:
    classes = value if isinstance(value, tuple) else (value,)
    return all(isinstance(one, type) and issubclass(one, BaseException) for one in classes)


def is_moment(value: Any) -> bool:
    if isinstance(value, timedelta):
        return timedelta(0) <= value <= LONGEST
    return value is None or (isinstance(value, datetime) and not is_naive(value))


def is_metadata(value: Any) -> bool:
    try:
        return isinstance(value, dict) and bool(codec.dumps(value))
    except NotEncodable:
        return False


def are_labels(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(one, str) and LABEL.match(one) for one in value)


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "priority": (
        lambda value: is_whole(value) and MIN_PRIORITY <= value <= MAX_PRIORITY,
        f"a whole number from {MIN_PRIORITY} to {MAX_PRIORITY}",
    ),
    "queue_name": (
        lambda value: isinstance(value, str) and bool(QUEUE_NAME.match(value)),
        "a name of letters, digits, '_', '.' and '-', at most 64 of them",
    ),
    "run_after": (is_moment, "an aware datetime, or a timedelta that is not negative"),
    "max_attempts": (
        lambda value: value is None or (is_whole(value) and 1 <= value <= MAX_COUNT),
        "1 or more, or None for no limit",
    ),
    "max_losses": (lambda value: is_whole(value) and 0 <= value <= MAX_COUNT, "0 or more"),
    "backoff": (is_backoff, "seconds, a list of seconds, or a function of (exception, job)"),
    "retry_on": (are_exceptions, "an exception class or a tuple of them"),
    "give_up_on": (are_exceptions, "an exception class or a tuple of them"),
    "timeout": (
        lambda value: value is None or (is_duration(value) and _seconds(value) > 0),
        "more than 0 seconds, a timedelta, or None for no limit",
    ),
    "expires": (
        lambda value: value is None or (is_duration(value) and _seconds(value) > 0),
        "more than 0 seconds, or a timedelta",
    ),
    "keep": (lambda value: value is None or is_pause(value), "seconds, a timedelta, 0, or None for ever"),
    "metadata": (is_metadata, "a dict that JSON can carry"),
    "labels": (are_labels, f"a list of texts, of at most {LABEL_LENGTH} characters each"),
    "sensitive": (
        lambda value: isinstance(value, list | tuple | set | frozenset) and all(isinstance(v, str) for v in value),
        "a list of argument names",
    ),
    "aliases": (
        lambda value: isinstance(value, list | tuple) and all(isinstance(one, str) and "." in one for one in value),
        "a list of former paths such as 'shop.tasks.old_name'",
    ),
    "admin": (lambda value: isinstance(value, bool | str), "True, False, or the name of a permission"),
    "capture_logs": (
        lambda value: isinstance(value, bool) or (isinstance(value, str) and value in logging.getLevelNamesMapping()),
        "True, False, or the name of a level such as 'WARNING'",
    ),
    "on_success": (lambda value: value is None or isinstance(value, BaseTask), "a task that stands above this one"),
    "on_failure": (lambda value: value is None or isinstance(value, BaseTask), "a task that stands above this one"),
    "on_retry": (lambda value: value is None or isinstance(value, BaseTask), "a task that stands above this one"),
    "atomic": (lambda value: isinstance(value, bool), "True or False"),
    "takes_context": (lambda value: isinstance(value, bool), "True or False"),
    "backend": (lambda value: isinstance(value, str), "the name of an alias in TASKS"),
}


# What is stored with a job; the other options are looked up on the task when it runs.
OF_A_CALL = frozenset(
    {
        *("priority", "queue_name", "run_after", "backend", "max_attempts", "max_losses", "timeout", "expires"),
        *("metadata", "labels"),
    }
)


def check_options(name: str, options: dict[str, Any]) -> None:
    """Raise InvalidTask for the first option whose value it cannot have, TypeError for an unknown one."""
    for option, value in options.items():
        if option not in RULES:
            near = get_close_matches(option, RULES, n=1)
            hint = f' Did you mean "{near[0]}"?' if near else f" Options are {', '.join(sorted(RULES))}."
            raise TypeError(f'{name}: a task has no option "{option}".{hint}')
        allowed, wanted = RULES[option]
        if value is not UNSET and not allowed(value):
            raise InvalidTask(f"{name}: {option} is {value!r}; it must be {wanted}.")


def check_call_options(name: str, options: dict[str, Any]) -> None:
    """Do as ``check_options`` for options of one call: those that a job carries along."""
    check_options(name, options)
    for option in options:
        if option not in OF_A_CALL:
            raise TypeError(
                f'{name}: "{option}" belongs to the task, set it in @task(...). '
                f"A call takes {', '.join(sorted(OF_A_CALL))}."
            )


def check_queue(name: str, queues: Sequence[str] | None = None) -> None:
    """Raise InvalidTask when the queues, QUEUES unless others are given, do not have that name."""
    queues = jobs_settings.QUEUES if queues is None else queues
    if not queues or name in queues:
        return
    near = get_close_matches(name, queues, n=1)
    hint = f' Did you mean "{near[0]}"?' if near else ' Add it to DJANGO_JOBS["QUEUES"].'
    raise InvalidTask(f'no queue "{name}". Queues are {", ".join(queues)}.{hint}')


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else value
