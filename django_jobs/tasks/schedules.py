"""The decorator that declares a schedule beside its task: workers make a row of it when they start."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from django.apps import apps
from django.utils import translation

from ..conf import seconds
from ..exceptions import InvalidTask
from . import registry
from .registry import Declaration

MAX_KEY = 255


def schedule(
    *,
    cron: str = "",
    every: timedelta | float | None = None,
    timezone: str = "",
    args: Sequence[Any] = (),
    kwargs: Mapping[str, Any] | None = None,
    name: str = "",
    queue_name: str = "",
    priority: int | None = None,
    starts_at: datetime | None = None,
    ends_at: datetime | None = None,
    jitter: timedelta | float | None = None,
    max_runs: int | None = None,
    overlap: Literal["run", "skip", "queue"] = "run",
    after_downtime: Literal["once", "skip", "all"] = "once",
    catch_up: int = 10,
) -> Callable[[Any], Any]:
    """Run the task by a schedule; above or below ``@task``. Durations are seconds or a timedelta.

    A task with several schedules names each: ``name`` is also what the admin shows. Raises InvalidTask when
    the rule cannot be right, and TypeError for arguments that the function does not take.
    """
    values = {
        "cron": cron,
        "every": _duration(every),
        "once_at": None,
        "timezone": timezone,
        "args": list(args),
        "kwargs": dict(kwargs or {}),
        "queue_name": queue_name,
        "priority": priority,
        "starts_at": starts_at,
        "ends_at": ends_at,
        "jitter": _duration(jitter),
        "max_runs": max_runs,
        "overlap": overlap,
        "after_downtime": after_downtime,
        "catch_up": catch_up,
    }

    def decorate(target: Any) -> Any:
        declaration = Declaration(name=name, values=values)
        _check(getattr(target, "__name__", repr(target)), declaration)
        if hasattr(target, "module_path"):
            registry.declare(target, declaration)
        else:
            target.__dict__.setdefault(registry.DECLARED, []).append(declaration)  # until @task makes a task of it
        return target

    return decorate


def _duration(value: timedelta | float | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=seconds(value))


def _check(task: str, declaration: Declaration) -> None:
    """Raise InvalidTask for the first thing that is wrong, in the words of the admin's form."""
    if len(declaration.name) > MAX_KEY:
        raise InvalidTask(f"@schedule of {task}: the name has more than {MAX_KEY} characters.")
    if not apps.apps_ready:  # no model can be loaded yet; the worker that makes the row will say so
        return
    from ..models import Schedule  # here: tasks are declared before the models can be loaded

    with translation.override(None):  # a catalogue may not be loaded before all apps are
        mistakes = Schedule(name=declaration.name or task, task_path=task, **declaration.values).mistakes()
        for column, problems in mistakes.items():
            reason = " ".join(str(getattr(problem, "message", problem)) for problem in problems)
            raise InvalidTask(f"@schedule of {task}: {column}: {reason}")
