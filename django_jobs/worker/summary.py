"""What a worker says of itself at its start: what it serves, where its data is, what it knows."""

from __future__ import annotations

import time
from typing import Any

from django.db import Error as DatabaseAway
from django.db import InterfaceError, OperationalError, connections
from django.utils import timezone

from .. import broker
from ..broker import AWAY
from ..conf import jobs_settings
from ..models import Schedule, database
from ..plain import plain
from ..tasks import registry
from .failures import one_line
from .options import Options
from .report import duration


def summary(options: Options) -> list[tuple[str, str]]:
    """Return the lines of the summary, each a name and a text."""
    return [
        ("queues", ", ".join(options.queues) or "every queue that exists"),
        ("slots", slots(options)),
        ("redis", redis()),
        ("database", where_database()),
        ("schedules", schedules() if options.scheduler else "not made by this worker (--no-scheduler)"),
        ("tasks", tasks()),
    ]


def slots(options: Options) -> str:
    if not options.processes:
        return f"{options.threads} in this process; hard timeouts are not available"
    parts = f"{counted(options.processes, 'process', 'es')} x {counted(options.threads, 'thread')}"
    return f"{options.processes * options.threads} ({parts}), " + (
        f"{options.processes * options.async_slots} for async tasks"
    )


def counted(number: int, word: str, plural: str = "s") -> str:
    return f"{number} {word}{plural if number != 1 else ''}"


def redis() -> str:
    if not broker.is_used():
        return "none (CACHE is None): the database is asked instead"
    where = f'{broker.address_of_jobs()} (CACHES["{jobs_settings.CACHE}"])'
    try:
        client = broker.for_worker()
        started = time.monotonic()
        client.client.ping()
        latency = time.monotonic() - started
        client.close()
    except AWAY as error:
        return f"{where} does not answer: {one_line(error).rstrip('.')}. Working from the database until it does."
    return f"{where}, {duration(latency)}"


def where_database() -> str:
    connection = connections[database()]
    settings = connection.settings_dict
    place = f"{settings['HOST']}:{settings['PORT']}/" if settings.get("HOST") else ""
    return f'{connection.vendor} {place}{settings["NAME"]} (DATABASES["{connection.alias}"])'


def schedules() -> str:
    try:
        enabled = Schedule.objects.filter(enabled=True)
        count, following = (
            enabled.count(),
            enabled.filter(next_due_at__isnull=False).order_by("next_due_at").first(),
        )
    except (OperationalError, InterfaceError) as error:
        return f"the database does not answer: {one_line(error)}"
    except DatabaseAway:
        return 'its tables are missing or old; run "manage.py migrate"'
    if following is None:
        return f"{count}"
    due_in = max(0.0, (following.next_due_at - timezone.now()).total_seconds())
    return f"{count}, next is {plain(following.name)} in {duration(due_in)}"


def tasks() -> str:
    names = [task.name for task in registry.all_tasks().values()]
    if not names:
        return f"none! Workers look for them in {', '.join(jobs_settings.TASK_MODULES)} of every app (TASK_MODULES)"
    shown = ", ".join(names[:8])
    return f"{len(names)}: {shown}{', ...' if len(names) > 8 else ''}"


def problems() -> list[str]:
    """Connect to everything and return what is wrong, in words."""
    return [*database_problems(), *redis_problems(), *task_problems()]


def database_problems() -> list[str]:
    from django.db.migrations.executor import MigrationExecutor  # here: slow to import, and only for --check

    try:
        executor = MigrationExecutor(connections[database()])
        targets = [node for node in executor.loader.graph.leaf_nodes() if node[0] == "django_jobs"]
        if executor.migration_plan(targets):
            return [f'{where_database()}: tables are missing or old; run "manage.py migrate".']
    except DatabaseAway as error:
        return [f"{where_database()} does not answer: {one_line(error)}"]
    return []


def redis_problems() -> list[str]:
    if not broker.is_used():
        return []
    where = f'Redis at {broker.address_of_jobs()} (CACHES["{jobs_settings.CACHE}"])'
    try:
        client = broker.for_worker().client
        info: dict[str, Any] = client.info()
        policy = client.config_get("maxmemory-policy").get("maxmemory-policy", "noeviction")
    except AWAY as error:
        return [f"{where} does not answer: {one_line(error)}"]
    found = []
    if str(policy) != "noeviction" and policy != b"noeviction":
        found.append(f'{where} evicts keys when memory is short; set "maxmemory-policy noeviction".')
    version = tuple(int(part) for part in str(info.get("redis_version", "0")).split(".")[:2])
    if version < (6, 2):
        found.append(f"{where} is version {info.get('redis_version')}; 6.2 or newer is needed.")
    return found


def task_problems() -> list[str]:
    return [] if registry.all_tasks() else [f"No task is known: {tasks()}."]
