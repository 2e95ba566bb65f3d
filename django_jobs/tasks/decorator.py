"""The decorators: one that makes a function a task, one that says how django_jobs is to run it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from . import registry
from .definition import P, R, Task
from .options import check_options

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Unpack

    from .typed import AsyncTask, Decorator, DecoratorWithContext, JobOptions, TaskOptions

Function = TypeVar("Function", bound=Callable[..., Any])

OPTIONS_NAME = "_django_jobs_options"  # of the attribute that carries them on a function
OF_THE_FRAMEWORK = frozenset({"priority", "queue_name", "backend", "takes_context", "run_after"})


@overload
def task(function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
@overload
def task(function: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(*, takes_context: Literal[True], **options: Unpack[TaskOptions]) -> DecoratorWithContext: ...
@overload
def task(*, takes_context: Literal[False] = False, **options: Unpack[TaskOptions]) -> Decorator: ...


def task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a task, as ``@task`` or ``@task(queue_name="mail", max_attempts=5, ...)``.

    Raises InvalidTask for a wrong option and TypeError for an unknown one.
    """

    def decorate(func: Callable[..., Any]) -> Task[..., Any]:
        check_options(getattr(func, "__name__", repr(func)), options)
        return registry.register(Task(func=func, **options))

    if "run_after" in options:
        raise TypeError("run_after belongs to a call, not to a task: use .using(run_after=...).enqueue(...).")
    return decorate(function) if function else decorate


def job_options(**options: Unpack[JobOptions]) -> Callable[[Function], Function]:
    """Say below ``@django.tasks.task`` how django_jobs is to run the function; other backends ignore it.

    Raises InvalidTask for a wrong option and TypeError for an unknown one, or one that ``@task`` itself takes.
    """
    check_options("@job_options", dict(options))
    for name in options.keys() & OF_THE_FRAMEWORK:
        raise TypeError(f'@job_options: "{name}" is an option of django.tasks: set it in @task({name}=...).')

    def decorate(function: Function) -> Function:
        if not hasattr(function, "__code__"):
            raise TypeError(f"@job_options: put it below @task; it is for functions, not for {function!r}.")
        setattr(function, OPTIONS_NAME, options_of(function) | options)
        return function

    return decorate


def options_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Return what ``job_options`` has said of a function."""
    return getattr(function, OPTIONS_NAME, {})
