"""What users decorate: tasks, and what a running body is told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .decorator import job_options, task
from .definition import Call, Task
from .schedules import schedule

if TYPE_CHECKING:
    from .context import TaskContext

__all__ = ["Call", "Task", "TaskContext", "job_options", "schedule", "task"]


def __getattr__(name: str) -> Any:
    if name != "TaskContext":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .context import TaskContext  # here: it brings the models, and tasks are declared before these can be loaded

    return TaskContext
