"""JobsBackend: tasks of Django's framework become jobs, run by ``manage.py runworker``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

from django.core import checks

from ..tasks import Call
from ..tasks.definition import prepared
from . import framework
from .checks import check_alias
from .task import OF_THE_FRAMEWORK, BackendTask, as_ours


class TakesOptions:
    """What our three backends have in common: they take every option of a task."""

    task_class = BackendTask
    runs_by_worker = False

    def __init__(self, alias: str, params: dict[str, Any]):
        super().__init__(alias, params)
        self.params = params

    def validate_task(self, task: framework.Task) -> None:
        """Raise the framework's InvalidTask for what this backend cannot enqueue."""
        if isinstance(task.run_after, timedelta) and self.supports_defer:  # ours alone: Django asks it for its zone
            without = {name: getattr(task, name) for name in OF_THE_FRAMEWORK} | {"run_after": None}
            task = SimpleNamespace(**without)
        super().validate_task(task)


class JobsBackend(TakesOptions, framework.BaseTaskBackend):
    """Enqueues jobs in the caller's transaction; every alias shares the tables, the Redis and the workers."""

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True
    runs_by_worker = True

    def enqueue(self, task: framework.Task, args: Any, kwargs: Mapping[str, Any]) -> framework.TaskResult:
        """Save a job in the current transaction, to be sent at its commit; return its result, READY."""
        return self.enqueue_many(task, [Call(args=args, kwargs=kwargs)])[0]

    def enqueue_many(self, task: framework.Task, calls: Sequence[Call]) -> list[framework.TaskResult]:
        """Save a job for each of the calls: either all of them, or none."""
        from ..enqueue import save  # here: it brings the models, and backends are made before these can be loaded
        from .results import result_of

        self.validate_task(task)
        with framework.refusals():
            ours = task if is_ours(task, self.alias) else as_ours(task, self.alias)
            jobs = [prepared(ours, call) for call in calls]
        if jobs:
            save(jobs)
        return [result_of(job, task) for job in jobs]

    def get_result(self, result_id: str) -> framework.TaskResult:
        """Return the job of that id as a TaskResult, whichever alias or decorator it came by."""
        from .results import find  # here: as in enqueue_many

        return find(result_id, self.alias)

    def check(self, **kwargs: Any) -> list[checks.CheckMessage]:
        return [*super().check(**kwargs), *check_alias(self.alias, self.params)]


def is_ours(task: framework.Task, alias: str) -> bool:
    return isinstance(task, BackendTask) and task.backend == alias
