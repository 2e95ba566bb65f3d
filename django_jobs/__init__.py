"""Background jobs for Django: the database is the truth, Redis carries ids, the admin shows it all."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .codec import RESULT
    from .enqueue import cancel, retry
    from .exceptions import (
        Discard,
        InvalidTask,
        JobCancelled,
        JobsError,
        NotEncodable,
        Retry,
        TaskNotFound,
        TaskTimeout,
    )
    from .models import jobs_about
    from .tasks import Task, TaskContext, job_options, schedule, task

__version__ = "0.1.0"

# Nothing is imported before it is asked for: settings may import us while they are being made.
_HOMES = {
    "RESULT": "codec",
    "cancel": "enqueue",
    "retry": "enqueue",
    "Discard": "exceptions",
    "InvalidTask": "exceptions",
    "JobCancelled": "exceptions",
    "JobsError": "exceptions",
    "NotEncodable": "exceptions",
    "Retry": "exceptions",
    "TaskNotFound": "exceptions",
    "TaskTimeout": "exceptions",
    "jobs_about": "models",
    "Task": "tasks",
    "TaskContext": "tasks",
    "job_options": "tasks",
    "schedule": "tasks",
    "task": "tasks",
}

__all__ = [
    "RESULT",
    "Discard",
    "InvalidTask",
    "JobCancelled",
    "JobsError",
    "NotEncodable",
    "Retry",
    "Task",
    "TaskContext",
    "TaskNotFound",
    "TaskTimeout",
    "cancel",
    "job_options",
    "jobs_about",
    "retry",
    "schedule",
    "task",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
