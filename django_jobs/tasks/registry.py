"""The tasks that this process knows, by path: only these are ever run."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from django.apps import apps
from django.utils.module_loading import autodiscover_modules

from ..conf import jobs_settings
from ..exceptions import InvalidTask, TaskNotFound

if TYPE_CHECKING:
    from .definition import Task

logger = logging.getLogger("django_jobs.enqueue")

DECLARED = "_django_jobs_schedules"  # attribute of a function that @schedule met before @task


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """A schedule as the code declares it: the columns of its row, but for key, name and task."""

    name: str  # empty: the task's path
    values: dict[str, Any]


_tasks: dict[str, Task] = {}
_declared: dict[str, tuple[Task, Declaration]] = {}
_aliases: dict[str, Task] = {}
_undiscovered: set[str] = set()

# Asked for a path that nobody has registered: other ways to declare a task, which this room knows nothing of.
finders: list[Callable[[str], Task | None]] = []


def register(task: Task) -> Task:
    """Add a task; raise InvalidTask when its path, or a former one, belongs to another."""
    path = task.module_path
    if path in _tasks and not _is_same(_tasks[path], task):
        raise InvalidTask(f"two tasks are called {path}; rename one of them.")
    _tasks[path] = task
    for alias in task.aliases:
        if alias in _tasks or not _is_same(_aliases.get(alias, task), task):
            raise InvalidTask(f"{path}: the alias {alias} is another task's path.")
        _aliases[alias] = task
    if apps.ready:  # a worker, which only sets Django up, would never come to import this module
        _undiscovered.add(path)
    for declaration in getattr(task.func, DECLARED, ()):
        declare(task, declaration)
    return task


def declare(task: Task, declaration: Declaration) -> None:
    """Add a schedule of a task; raise InvalidTask when its name is taken, TypeError when its arguments do not fit."""
    key = declaration.name or task.module_path
    other = _declared[key][0] if key in _declared else None
    if other is task and _declared[key][1] is not declaration:
        raise InvalidTask(f"{task.name} has two schedules called {key}: give each a name, as in @schedule(name=...).")
    if other is not None and not _is_same(other, task):
        raise InvalidTask(f"two schedules are called {key}, of {other.module_path} and of {task.module_path}.")
    if hasattr(task, "bind"):  # a plain task of the framework, which the backend makes ours later, has none
        task.bind(declaration.values["args"], declaration.values["kwargs"])
    _declared[key] = (task, declaration)


def declared_schedules() -> dict[str, dict[str, Any]]:
    """Return the columns of all schedules that the code declares, by key."""
    return {key: {"task_path": task.module_path, **one.values} for key, (task, one) in sorted(_declared.items())}


def discover() -> None:
    """Import TASK_MODULES of every app."""
    modules = jobs_settings.TASK_MODULES
    if isinstance(modules, list | tuple):  # a check tells about anything else
        autodiscover_modules(*(module for module in modules if isinstance(module, str)))


def get(path: str) -> Task:
    """Return the task of that path or former path; raise TaskNotFound."""
    task = find(path) or _aliases.get(path) or next(filter(None, (look(path) for look in finders)), None)
    if task is None:
        near = get_close_matches(path, _tasks, n=1)
        raise TaskNotFound(f"no task {path} is registered here.{f' Did you mean {near[0]}?' if near else ''}")
    return task


def find(path: str) -> Task | None:
    """Return the task of that very path, if it is registered."""
    return _tasks.get(path)


def all_tasks() -> dict[str, Task]:
    """Return all tasks by path, sorted."""
    return dict(sorted(_tasks.items()))


def take_for_discovered(task: Task) -> None:
    """Do not warn of a task, though it was registered late."""
    _undiscovered.discard(task.module_path)


def warn_if_undiscovered(task: Task) -> None:
    """Warn once when workers will not know the task."""
    path = task.module_path
    if path in _undiscovered:
        _undiscovered.discard(path)
        logger.warning(
            "%s stands in a module that workers do not import. Move it to one of the modules named in "
            'DJANGO_JOBS["TASK_MODULES"] (%s), or add its module there.',
            path,
            ", ".join(jobs_settings.TASK_MODULES),
        )


def _is_same(one: Task, other: Task) -> bool:
    """Say whether both come from the same lines of a file: a module imported again is no mistake."""
    return _lines(one) == _lines(other)


def _lines(task: Task) -> object:
    func = inspect.unwrap(task.func)  # all that one decorator wraps share the lines of its wrapper
    code = getattr(func, "__code__", None)
    return (code.co_filename, code.co_firstlineno) if code else func
