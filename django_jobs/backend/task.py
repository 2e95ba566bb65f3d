"""The class of tasks that are declared by ``@django.tasks.task`` for one of our backends."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.utils.module_loading import import_string

from ..conf import our_backends
from ..tasks import Call, Task, registry
from ..tasks.decorator import options_of
from ..tasks.options import UNSET, check_call_options
from . import framework

if TYPE_CHECKING:
    from django.db import models

    from ..models import Job
    from ..tasks import TaskContext

OF_THE_FRAMEWORK = [field.name for field in fields(framework.Task)]


class BackendTask(Task, framework.Task):
    """A task of Django's framework that takes the options of django_jobs; all calls go through its backend."""

    def __init__(self, *, func: Callable[..., Any], **options: Any):
        super().__init__(func=func, **options_of(func) | options)

    def __post_init__(self) -> None:
        backend = self.get_backend()
        with framework.refusals():
            backend.validate_task(self)
            super().__post_init__()
            if getattr(backend, "runs_by_worker", False):
                register(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Be pickled as Django 6.1 does it, on every version: the function by its path, which leads to the task."""
        options = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "func"}
        return unpickled, (self.module_path, options)

    def __deepcopy__(self, memo: Any) -> BackendTask:
        return self  # nothing in it changes

    enqueue = framework.Task.enqueue
    aenqueue = framework.Task.aenqueue

    def using(self, **options: Any) -> BackendTask:
        """Return the same task with other options; as in Django, None leaves the framework's own as they are."""
        given = {name: value for name, value in options.items() if value is not None or name not in OF_THE_FRAMEWORK}
        with framework.refusals():  # what the framework's own may be is said by validate_task
            left = {name: UNSET if name in OF_THE_FRAMEWORK else value for name, value in given.items()}
            check_call_options(f"{self.name}.using()", left)
        return replace(self, **given)

    def about(self, *things: models.Model) -> BackendTask:
        """Return the same task, its jobs labelled with these objects."""
        with framework.refusals():
            return super().about(*things)

    def enqueue_many(self, calls: Iterable[Mapping[str, Any] | Call]) -> list[framework.TaskResult]:
        """Enqueue each of the calls, a dict of keyword arguments or a ``task.s(...)``; return the results."""
        backend, calls = self.get_backend(), [self._call(call) for call in calls]
        if hasattr(backend, "enqueue_many"):
            return backend.enqueue_many(self, calls)
        return [backend.enqueue(self, call.args, call.kwargs) for call in calls]

    def prepare(self, args: Any, kwargs: Mapping[str, Any]) -> Job:
        """Return a new job of this backend, checked but not saved."""
        job = super().prepare(args, kwargs)
        job.backend = self.backend
        return job

    def call(self, *args: Any, **kwargs: Any) -> Any:
        return super().call(*self._own_context(args), **kwargs)

    async def acall(self, *args: Any, **kwargs: Any) -> Any:
        return await super().acall(*self._own_context(args), **kwargs)

    def _own_context(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Let the body find what it expects of its context, when another backend gives it one."""
        is_theirs = self.takes_context and args and type(args[0]) is framework.TaskContext
        if not is_theirs or not (apps.ready and apps.is_installed("django_jobs")):
            return args
        from .context import without_job  # here: it brings the models

        return without_job(args[0]), *args[1:]

    def with_context(self, context: TaskContext) -> TaskContext:
        if not self.takes_context:
            return context
        from .context import JobContext  # here: it brings the models

        return JobContext(context)

    def _check_queue(self) -> None:
        """Leave it to ``validate_task``: the QUEUES of the alias say what may be enqueued through it."""


def unpickled(path: str, options: dict[str, Any]) -> BackendTask:
    return BackendTask(func=import_string(path).func, **options)


def register(task: BackendTask) -> None:
    """Let workers know the task, unless they do: copies made by ``using()`` come by here as well."""
    known = registry.find(task.module_path)
    if known is None or known.func is not task.func:
        registry.register(task)


@lru_cache(maxsize=1024)
def as_ours(task: framework.Task | Task, alias: str) -> BackendTask:
    """Return what our engine needs to know of a task that was declared otherwise, to be enqueued through the alias."""
    names = [field.name for field in fields(Task)] if isinstance(task, Task) else OF_THE_FRAMEWORK
    ours = BackendTask(**{name: getattr(task, name) for name in names} | {"backend": alias})
    registry.take_for_discovered(ours)  # it was declared before now, who knows where
    return ours


def find_declared(path: str) -> BackendTask | None:
    """Return the framework's task of that path, declared for another backend, if its module is imported here.

    A call may come to us all the same, by ``using(backend=...)``. Nothing is imported because data names it, not
    even by a module that imports what it is asked for.
    """
    module, _, name = path.rpartition(".")
    declared = getattr(sys.modules.get(module), "__dict__", {}).get(name)
    if not isinstance(declared, framework.Task) or declared.module_path != path:
        return None
    alias = next((alias for alias, _ in our_backends()), None)
    return alias and as_ours(declared, alias)


registry.finders.append(find_declared)


def as_enqueued(task: Task, job: Job, alias: str) -> framework.Task:
    """Return a task as it was when the job was enqueued, for its result."""
    then = {"priority": job.priority, "queue_name": job.queue_name, "run_after": job.run_after, "backend": alias}
    if not isinstance(task, framework.Task):
        task = as_ours(task, alias)
    if all(getattr(task, name) == value for name, value in then.items()):
        return task
    try:
        return replace(task, **then)
    except (framework.InvalidTask, framework.InvalidTaskBackend):  # settings have changed since
        return task
