"""Checks of one alias in TASKS, told by ``manage.py check`` as those of every backend are."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

import django
from django.apps import apps
from django.core.checks import CheckMessage

from ..conf import QUEUE_NAME
from ..problem import Problem, problem

KEYS = ("BACKEND", "QUEUES", "OPTIONS")
ALIAS_LENGTH = 64  # what the column holds

HAS_OPTIONS = problem(
    "E020",
    'TASKS["{alias}"]["OPTIONS"] has {names}, and JobsBackend takes no options.',
    "Remove it. What is to hold for all jobs stands in DJANGO_JOBS, what is to hold for one task in @task(...).",
)
NOT_INSTALLED = problem(
    "E021",
    'TASKS["{alias}"] is a JobsBackend, and "django_jobs" is not in INSTALLED_APPS.',
    'Add "django_jobs" to INSTALLED_APPS and run manage.py migrate.',
)
WRONG_QUEUES = problem(
    "E022",
    'TASKS["{alias}"]["QUEUES"] is {queues}.',
    "It must be a list of names of letters, digits, '_', '.' and '-', at most 64 of them; [] for any.",
)
LONG_ALIAS = problem(
    "E023",
    'The alias "{alias}" in TASKS has {length} characters, and jobs keep at most 64 of them.',
    "Give it a shorter name.",
)
UNKNOWN_PARAMETER = problem(
    "W020",
    'TASKS["{alias}"] has the key "{key}", which nobody reads.',
    "{advice}",
)
BACKPORT_TOO = problem(
    "W021",
    'TASKS["{alias}"] is a JobsBackend, and "django_tasks" is in INSTALLED_APPS: on Django 6 its tasks are not ours.',
    "Import from django.tasks what you import from django_tasks, and remove django_tasks.",
)

PROBLEMS = {one.id: one for one in list(globals().values()) if isinstance(one, Problem)}


def check_alias(alias: str, params: dict[str, Any]) -> Iterator[CheckMessage]:
    """Yield what is wrong with an alias whose backend is ours."""
    if not apps.is_installed("django_jobs"):
        yield NOT_INSTALLED.found(alias=alias)
    if len(alias) > ALIAS_LENGTH:
        yield LONG_ALIAS.found(alias=alias, length=len(alias))
    if options := params.get("OPTIONS"):
        yield HAS_OPTIONS.found(alias=alias, names=", ".join(map(repr, options)))
    if not _are_queues(queues := params.get("QUEUES", [])):
        yield WRONG_QUEUES.found(alias=alias, queues=repr(queues))
    for key in params.keys() - set(KEYS):
        near = get_close_matches(str(key).upper(), KEYS, n=1)
        advice = f'Did you mean "{near[0]}"?' if near else f"Remove it: an alias has {', '.join(KEYS)}."
        yield UNKNOWN_PARAMETER.found(alias=alias, key=key, advice=advice)
    if django.VERSION >= (6, 0) and apps.is_installed("django_tasks"):
        yield BACKPORT_TOO.found(alias=alias)


def _are_queues(queues: Any) -> bool:
    is_list = isinstance(queues, list | tuple | set | frozenset)
    return is_list and all(isinstance(name, str) and QUEUE_NAME.match(name) for name in queues)
