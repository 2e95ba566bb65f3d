"""Shows a job's call to people: bounded, with secrets hidden, and whatever is stored."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from reprlib import Repr
from typing import Any, NamedTuple

from ..exceptions import TaskNotFound
from ..models import Job, Schedule
from . import registry
from .definition import Task
from .sensitive import secrecy

HIDDEN = "hidden"
UNREADABLE = "…"
CALL_LENGTH = 120  # characters
VALUE_LENGTH = 10_000  # characters, of one argument shown by itself


class Hidden:
    """Stands for a secret."""

    def __repr__(self) -> str:
        return HIDDEN


class Argument(NamedTuple):
    """One argument of a call as it may be shown."""

    name: str
    value: Any
    by_name: bool


def call_text(job: Job | Schedule, length: int = CALL_LENGTH) -> str:
    """Return the call as code, such as ``charge_card(1042, amount=49.9)``; never raise."""
    name = job.task_path.rpartition(".")[2]
    try:
        shown = [_short(argument) for argument in shown_arguments(job)]
    except Exception:  # whatever is stored: not ours, or not of the form that a call has
        shown = [UNREADABLE]
    return _cut(f"{name}({', '.join(shown)})", length)


def named_arguments(job: Job | Schedule) -> list[tuple[str, str]]:
    """Return the arguments with their names from the task's signature, and their values as code; never raise."""
    try:
        arguments = list(shown_arguments(job))
    except Exception as error:  # as above
        return [(UNREADABLE, str(error))]
    return [(one.name, value_text(one.value)) for one in arguments]


def value_text(value: Any) -> str:
    """Return a value as code, bounded."""
    return _repr(_long, value, VALUE_LENGTH)


def shown_arguments(job: Job | Schedule) -> Iterator[Argument]:
    """Yield the arguments in their order, secrets replaced by ``Hidden``."""
    task = known_task(job.task_path)
    is_secret = secrecy(task)
    for name, value in zip(argument_names(task, len(job.args)), job.args, strict=True):
        yield Argument(name, Hidden() if is_secret(name) else masked(value, is_secret), False)
    for name, value in job.kwargs.items():
        yield Argument(name, Hidden() if is_secret(name) else masked(value, is_secret), True)


def masked(value: Any, is_secret: Callable[[str], bool], instead: Any = None) -> Any:
    """Return the value with the secrets inside its dicts replaced."""
    instead = instead or Hidden()
    match value:
        case dict():
            pairs = ((key, is_secret(str(key)), item) for key, item in value.items())
            return {key: instead if hide else masked(item, is_secret, instead) for key, hide, item in pairs}
        case list():
            return [masked(item, is_secret, instead) for item in value]
    return value


def known_task(path: str) -> Task | None:
    """Return the task of that path, or None when this process does not know it."""
    try:
        return registry.get(path)
    except TaskNotFound:
        return None


def argument_names(task: Task | None, count: int) -> list[str]:
    """Return names for positional arguments: the signature's, or numbers where it has none."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    parameters = list(task.signature.parameters.values()) if task else []
    names = [one.name for one in parameters if one.kind in kinds]
    rest = next((one.name for one in parameters if one.kind is inspect.Parameter.VAR_POSITIONAL), "")
    return [names[index] if index < len(names) else f"{rest}[{index - len(names)}]" for index in range(count)]


def _short(argument: Argument) -> str:
    text = _repr(_brief, argument.value, CALL_LENGTH)
    return f"{argument.name}={text}" if argument.by_name else text


def _repr(limits: Repr, value: Any, length: int) -> str:
    try:
        return _cut(limits.repr(value), length)
    except Exception:  # a whole number of too many digits, a nesting too deep
        return UNREADABLE


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"


def _limits(text: int, items: int, level: int) -> Repr:
    limits = Repr()
    limits.maxstring = limits.maxlong = limits.maxother = text
    limits.maxlist = limits.maxdict = items
    limits.maxlevel = level
    return limits


_brief = _limits(text=60, items=5, level=3)
_long = _limits(text=2_000, items=200, level=8)
