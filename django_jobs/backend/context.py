"""What the body of a django.tasks task gets as its context: Django's TaskContext, and all that ours can do."""

from __future__ import annotations

from functools import cached_property
from types import SimpleNamespace

from ..tasks import TaskContext
from . import framework
from .results import running_result


class JobContext(TaskContext, framework.TaskContext):
    """Django's TaskContext with progress, cancelling and the job itself besides."""

    __setattr__ = object.__setattr__  # Django's is frozen, and of a class with slots, where its super() fails
    __delattr__ = object.__delattr__

    def __init__(self, context: TaskContext):
        vars(self).update(vars(context))

    @cached_property
    def task_result(self) -> framework.TaskResult:
        return running_result(self.job)


def without_job(context: framework.TaskContext) -> JobContext:
    """Return a context for a body that Django's ImmediateBackend runs: what it says of itself is not kept."""
    result = context.task_result
    job = SimpleNamespace(id=result.id, attempt=result.attempts, metadata=dict(result.task.metadata))
    ours = JobContext(TaskContext(job))
    vars(ours)["task_result"] = result
    return ours
