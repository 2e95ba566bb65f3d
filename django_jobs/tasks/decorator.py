"""The decorator that makes a function a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

from . import registry
from .definition import Task
from .options import check_options


@overload
def task(function: Callable[..., Any], /) -> Task: ...
@overload
def task(**options: Any) -> Callable[[Callable[..., Any]], Task]: ...


def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task, as ``@task`` or ``@task(queue_name="mail", max_attempts=5, ...)``.

    Raises InvalidTask for a wrong option and TypeError for an unknown one.
    """

    def decorate(func: Callable[..., Any]) -> Task:
        check_options(getattr(func, "__name__", repr(func)), options)
        return registry.register(Task(func=func, **options))

    if "run_after" in options:
        raise TypeError("run_after belongs to a call, not to a task: use .using(run_after=...).enqueue(...).")
    return decorate(function) if function else decorate
