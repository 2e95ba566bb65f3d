"""Django's Tasks framework under one set of names: django.tasks, or its backport django-tasks on Django 5.2."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import django

from .. import exceptions

if django.VERSION >= (6, 0):
    from django.tasks import Task, TaskContext, TaskResult, TaskResultStatus, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.backends.dummy import DummyBackend
    from django.tasks.backends.immediate import ImmediateBackend
    from django.tasks.base import TaskError
    from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
else:
    try:
        from django_tasks import TaskContext, TaskResult, TaskResultStatus, task_backends
    except ModuleNotFoundError as error:
        raise ImportError(
            "django_jobs.backend needs Django's Tasks framework. Django 5.2 has none: install the backport, "
            'python -m pip install django-tasks (the extra "tasks" of django-jobs).'
        ) from error
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.backends.dummy import DummyBackend
    from django_tasks.backends.immediate import ImmediateBackend
    from django_tasks.base import Task, TaskError
    from django_tasks.exceptions import InvalidTaskBackendError as InvalidTaskBackend
    from django_tasks.exceptions import InvalidTaskError as InvalidTask
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started


class InvalidJob(exceptions.InvalidTask, InvalidTask):
    """What django_jobs refuses, for those who expect the framework's InvalidTask and for those who expect ours."""


@contextmanager
def refusals() -> Iterator[None]:
    """Let our InvalidTask be the framework's as well, and the framework's ours."""
    try:
        yield
    except InvalidJob:
        raise
    except (InvalidTask, exceptions.InvalidTask) as error:
        raise InvalidJob(str(error)) from None


__all__ = [
    "BaseTaskBackend",
    "DummyBackend",
    "ImmediateBackend",
    "InvalidJob",
    "InvalidTask",
    "InvalidTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "refusals",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]
