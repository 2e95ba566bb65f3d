"""System checks: everything that a mistake in the settings can break, with a hint what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import get_commands
from django.db import connections, router
from django.utils.module_loading import import_string

from . import states
from .conf import NAMES, QUEUE_NAME, SETTING, Settings
from .models import Job
from .problem import Problem, problem
from .tasks import Task, registry
from .tasks.options import is_backoff, is_duration, is_pause, is_whole

MIN_SQLITE = (3, 35)
MIN_SQLITE_TIMEOUT = 10  # seconds


NOT_A_DICT = problem(
    "E001",
    "DJANGO_JOBS is a {kind}, not a dict.",
    'Write DJANGO_JOBS = {{"QUEUES": ["default"]}}, say, or leave it out.',
)
UNKNOWN_KEY = problem("E002", 'DJANGO_JOBS has no setting "{key}".', "{advice}")
WRONG_VALUE = problem("E003", 'DJANGO_JOBS["{key}"] is {value}.', "It must be {wanted}.")
NO_SUCH_CACHE = problem(
    "E004",
    'DJANGO_JOBS["CACHE"] is "{alias}", and CACHES has no such alias.',
    'Add a django-redis cache named "{alias}", name one of {known}, or set None to work without Redis.',
)
NOT_REDIS = problem(
    "E005",
    'CACHES["{alias}"], which jobs go through, is a {backend}, not a django-redis cache.',
    'Set its BACKEND to "django_redis.cache.RedisCache", or DJANGO_JOBS["CACHE"] to an alias that has it, '
    "or to None to work without Redis.",
)
NO_URL = problem(
    "E006",
    'LOCATION of CACHES["{alias}"] is {location}, not a Redis URL.',
    'Write it as "redis://127.0.0.1:6379/1"; in a password, @ is written %40, / %2F, # %23, ? %3F and a comma %2C.',
)
NO_SUCH_DATABASE = problem(
    "E007",
    'DJANGO_JOBS["DATABASE"] is "{alias}", and DATABASES has no such alias.',
    "Name one of {known}, or leave it out: then the router's write database for Job is used.",
)
ROUTER_DISAGREES = problem(
    "E008",
    'Jobs are to live on the database "{alias}", but the routers do not allow their tables there.',
    'Let allow_migrate("{alias}", "django_jobs") return True or None, or set DJANGO_JOBS["DATABASE"].',
)
NAIVE_TIMES = problem("E009", "USE_TZ is False, and jobs need moments that know their time zone.", "Set USE_TZ = True.")
NO_SUCH_MIDDLEWARE = problem(
    "E010",
    'DJANGO_JOBS["MIDDLEWARE"] names "{path}", of which no object can be made: {error}',
    "Name a class by its dotted path, such as shop.jobs.TenantMiddleware; its __init__ gets no arguments.",
)
NO_SUCH_STATE = problem(
    "E011",
    'DJANGO_JOBS["RETENTION"] names {state}, which is not a state that jobs end in.',
    "Its keys are {known}.",
)
OLD_SQLITE = problem(
    "E012",
    "SQLite {version} is too old for jobs.",
    "Use a Python that was built with SQLite 3.35 or newer, or PostgreSQL.",
)
WRONG_OPTIONS = problem(
    "E013",
    'OPTIONS of CACHES["{alias}"], which jobs go through, cannot be: {error}',
    'For one server leave CONNECTION_FACTORY out; for Sentinel it is "django_redis.pool.SentinelConnectionFactory", '
    'with SENTINELS = [(host, port), ...]; for a cluster "django_jobs.broker.ClusterConnectionFactory", with '
    "NODES = [(host, port), ...] for more nodes than the one of LOCATION.",
)
SHARED_REDIS = problem(
    "W001",
    'Jobs share their Redis database with CACHES["{other}"], whose clear() would empty it.',
    'Nothing is lost then, but jobs wait until they are put back. Give CACHES["{alias}"] a database number of '
    "its own, such as redis://127.0.0.1:6379/1.",
)
NO_WAL = problem(
    "W002",
    'The SQLite database "{alias}" is not in WAL mode: workers and pages will block each other.',
    'Set DATABASES["{alias}"]["OPTIONS"]["init_command"] = "PRAGMA journal_mode = WAL".',
)
NOT_IMMEDIATE = problem(
    "W003",
    'Transactions on the SQLite database "{alias}" are not IMMEDIATE: they will fail with "database is locked".',
    'Set DATABASES["{alias}"]["OPTIONS"]["transaction_mode"] = "IMMEDIATE".',
)
SHORT_TIMEOUT = problem(
    "W004",
    'Statements on the SQLite database "{alias}" wait only {timeout:g} s for their turn.',
    'Set DATABASES["{alias}"]["OPTIONS"]["timeout"] = 20.',
)
EXPERIMENTAL = problem(
    "W005",
    'Support of {vendor} (the database "{alias}") is experimental.',
    "It needs MySQL 8.0.11 or MariaDB 10.6 at least. Use PostgreSQL for work that matters, and silence this "
    "check when you have tested it.",
)
OTHER_RUNWORKER = problem(
    "W006",
    '"manage.py runworker" is that of {app}, which stands earlier in INSTALLED_APPS.',
    'Start workers by "manage.py jobs worker", or put "django_jobs" before it.',
)
UNKNOWN_QUEUE = problem(
    "W007",
    'Tasks use queues that DJANGO_JOBS["QUEUES"] does not have: {tasks}.',
    "Their enqueue() will raise InvalidTask. QUEUES has {queues}: add what is missing, or name one of these.",
)

CLUSTER_AS_CACHE = problem(
    "W008",
    'CACHES["default"] goes through ClusterConnectionFactory, which can carry jobs and nothing else.',
    'Give the cluster an alias of its own, say "jobs", set DJANGO_JOBS = {{"CACHE": "jobs"}}, and let "default" be '
    "another cache.",
)

PROBLEMS = {one.id: one for one in list(globals().values()) if isinstance(one, Problem)}


# What each setting may be.


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_list(value: Any, allowed: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(allowed, value))


def _at_least(minimum: int) -> Callable[[Any], bool]:
    return lambda value: is_whole(value) and value >= minimum


def _is_positive(value: Any) -> bool:
    return is_pause(value) and bool(value)


def _or_none(allowed: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or allowed(value)


def _is_retention(value: Any) -> bool:
    return isinstance(value, dict) and all(keep is None or is_pause(keep) for keep in value.values())


def _is_prefix(value: Any) -> bool:
    return _is_text(value) and not set(value) & set("{} \n\0")


RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "CACHE": (_or_none(_is_text), "an alias in CACHES, or None to work without Redis"),
    "PREFIX": (_is_prefix, "text without spaces and braces"),
    "DATABASE": (_or_none(_is_text), "an alias in DATABASES, or None"),
    "QUEUES": (
        lambda value: _is_list(value, lambda name: isinstance(name, str) and bool(QUEUE_NAME.match(name))),
        "a list of names made of letters, digits, '_', '.' and '-', at most 64 of them each; [] allows any",
    ),
    "TASK_MODULES": (
        lambda value: _is_list(value, lambda name: _is_text(name) and all(map(str.isidentifier, name.split(".")))),
        'a list of module names such as ["tasks"]',
    ),
    "PROCESSES": (_at_least(0), "0 (everything in one process) or more"),
    "THREADS": (_at_least(1), "1 or more"),
    "ASYNC_SLOTS": (_at_least(1), "1 or more"),
    "MAX_ATTEMPTS": (_or_none(_at_least(1)), "1 or more, or None for no limit"),
    "MAX_LOSSES": (_at_least(0), "0 or more"),
    "BACKOFF": (is_backoff, "None, seconds, a list of seconds, or a function of (exception, job)"),
    "TIMEOUT": (_or_none(_is_positive), "more than 0 seconds, a timedelta, or None for no limit"),
    "HARD_TIMEOUT_AFTER": (is_pause, "seconds or a timedelta, not negative"),
    "GRACE": (is_pause, "seconds or a timedelta, not negative"),
    "RETENTION": (_is_retention, "a dict of state to seconds, a timedelta, or None for ever"),
    "KEEP_COUNTERS": (_or_none(is_pause), "seconds or a timedelta, not negative, or None for ever"),
    "MAX_ARGS_BYTES": (_at_least(2), "a number of bytes"),
    "MAX_RESULT_BYTES": (_at_least(2), "a number of bytes"),
    "SENSITIVE": (
        lambda value: _is_list(value, lambda word: isinstance(word, str) and any(map(str.isalpha, word))),
        'a list of words of argument names, such as ["password", "api_key"]',
    ),
    "UNKNOWN_TASK_AFTER": (is_duration, "seconds or a timedelta"),
    "MIDDLEWARE": (lambda value: _is_list(value, _is_text), "a list of dotted paths"),
}


@checks.register("django_jobs")
def check_all(app_configs: Any = None, **options: Any) -> list[checks.CheckMessage]:
    """Return all problems of the settings; what depends on a setting found wrong is not looked at."""
    if app_configs is not None and not any(config.label == "django_jobs" for config in app_configs):
        return []
    found = list(_check_dict())
    given = _Given(wrong={_setting_of(message) for message in found})
    for check in (_check_cache, _check_database, _check_time, _check_middleware, _check_command, _check_tasks):
        found += check(given)
    return found


@dataclass(frozen=True, kw_only=True)
class _Given:
    """The settings as they were given, for checks of those whose values are possible."""

    wrong: set[str]

    def get(self, key: str) -> Any:
        """Return the setting's value, the default where the given one cannot be."""
        default = vars(Settings)[key].default
        return default if {key, ""} & self.wrong else _settings().get(key, default)


def _settings() -> dict[str, Any]:
    return getattr(django_settings, SETTING, {})


def _setting_of(message: checks.CheckMessage) -> str:
    """Return the key that a message is about; empty when it is about all."""
    return "" if message.id == NOT_A_DICT.id else message.msg.partition('["')[2].partition('"]')[0]


def _check_dict() -> Iterator[checks.CheckMessage]:
    given = _settings()
    if not isinstance(given, dict):
        yield NOT_A_DICT.found(kind=type(given).__name__)
        return
    for key, value in given.items():
        if key not in RULES:
            yield UNKNOWN_KEY.found(key=key, advice=_advice(str(key)))
        elif not RULES[key][0](value):
            yield WRONG_VALUE.found(key=key, value=_shown(value), wanted=RULES[key][1])
        elif key == "RETENTION":
            for state in value.keys() - set(states.FINAL):
                yield NO_SUCH_STATE.found(state=repr(state), known=", ".join(states.FINAL))


def _advice(key: str) -> str:
    near = get_close_matches(key.upper(), NAMES, n=1)
    return f'Did you mean "{near[0]}"?' if near else f"Settings are {', '.join(NAMES)}."


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:99]}…"


def _shown_location(value: Any) -> str:
    """Return what was given instead of a URL, unless it may hold a password."""
    text = _shown(value)
    return "set" if set(text) & set("@?#") or ":" in text.partition("://")[2] else text


def _check_cache(given: _Given) -> Iterator[checks.CheckMessage]:
    alias = given.get("CACHE")
    if alias is None or "CACHE" in given.wrong:
        return
    if alias not in django_settings.CACHES:
        yield NO_SUCH_CACHE.found(alias=alias, known=", ".join(django_settings.CACHES))
        return
    cache = django_settings.CACHES[alias]
    if not _is_django_redis(cache.get("BACKEND", "")):
        yield NOT_REDIS.found(alias=alias, backend=cache.get("BACKEND") or "cache without BACKEND")
        return
    from .broker.connection import is_url  # here: the check must answer where django-redis is missing

    if not _urls(cache) or not all(is_url(str(url)) for url in _urls(cache)):
        yield NO_URL.found(alias=alias, location=_shown_location(cache.get("LOCATION", "")))
    elif error := _refusal(cache.get("OPTIONS") or {}):
        yield WRONG_OPTIONS.found(alias=alias, error=error)
    else:
        yield from _check_sharing(alias)
        if alias == "default" and _is_for_cluster(cache):
            yield CLUSTER_AS_CACHE.found()


def _is_django_redis(path: str) -> bool:
    try:
        from django_redis.cache import RedisCache  # here: the check must answer where it is missing

        backend = import_string(path)
    except (ImportError, ImproperlyConfigured, TypeError):
        return False
    return isinstance(backend, type) and issubclass(backend, RedisCache)


def _refusal(options: dict[str, Any]) -> str:
    """Return why django-redis cannot make connections with these OPTIONS, empty if it can; nothing is connected."""
    from django_redis.pool import get_connection_factory  # here: the check must answer where it is missing

    try:
        get_connection_factory(dict(options))
    except (ImportError, ImproperlyConfigured, TypeError, ValueError, AttributeError) as error:
        return str(error)
    return ""


def _is_for_cluster(cache: dict[str, Any]) -> bool:
    return "ClusterConnectionFactory" in str((cache.get("OPTIONS") or {}).get("CONNECTION_FACTORY", ""))


def _urls(cache: dict[str, Any]) -> list[str]:
    location = cache.get("LOCATION") or []
    return location.split(",") if isinstance(location, str) else list(location)


def _check_sharing(alias: str) -> Iterator[checks.CheckMessage]:
    ours = set(map(_server, _urls(django_settings.CACHES[alias])))
    for other, cache in django_settings.CACHES.items():
        redis = "redis" in str(cache.get("BACKEND", "")).lower()
        if other != alias and redis and ours & set(map(_server, map(str, _urls(cache)))):
            yield SHARED_REDIS.found(alias=alias, other=other)


def _server(url: str) -> tuple:
    """Return what two URLs of the same Redis database have in common."""
    try:
        parts = urlsplit(url)
        port = parts.port or 6379
    except ValueError:
        return (url,)
    if parts.scheme == "unix":
        return (parts.path, parts.query)
    return (parts.hostname, port, parts.path.strip("/") or "0", parts.query)


def _check_database(given: _Given) -> Iterator[checks.CheckMessage]:
    alias = given.get("DATABASE")
    if alias is not None and alias not in connections:
        yield NO_SUCH_DATABASE.found(alias=alias, known=", ".join(connections))
        return
    alias = alias or router.db_for_write(Job)
    if not router.allow_migrate_model(alias, Job):
        yield ROUTER_DISAGREES.found(alias=alias)
    match connections[alias].vendor:
        case "sqlite":
            yield from _check_sqlite(alias)
        case "mysql":
            yield EXPERIMENTAL.found(alias=alias, vendor=connections[alias].display_name)


def _check_sqlite(alias: str) -> Iterator[checks.CheckMessage]:
    if sqlite3.sqlite_version_info < MIN_SQLITE:
        yield OLD_SQLITE.found(version=sqlite3.sqlite_version)
    connection = connections[alias]
    if connection.is_in_memory_db():
        return
    options = connection.settings_dict.get("OPTIONS") or {}
    if "wal" not in str(options.get("init_command", "")).lower() and not _is_wal(connection.settings_dict["NAME"]):
        yield NO_WAL.found(alias=alias)
    if str(options.get("transaction_mode", "")).upper() not in ("IMMEDIATE", "EXCLUSIVE"):
        yield NOT_IMMEDIATE.found(alias=alias)
    timeout = options.get("timeout", 5.0)  # Python's default
    if timeout < MIN_SQLITE_TIMEOUT:
        yield SHORT_TIMEOUT.found(alias=alias, timeout=timeout)


def _is_wal(name: Any) -> bool:
    """Read from the file's header, without connecting, whether it is in WAL mode for good."""
    try:
        with Path(str(name)).open("rb") as file:
            return file.read(20)[18:] == b"\x02\x02"  # https://www.sqlite.org/fileformat.html, section 1.3.3
    except (OSError, ValueError):
        return False


def _check_time(given: _Given) -> Iterator[checks.CheckMessage]:
    if not django_settings.USE_TZ:
        yield NAIVE_TIMES.found()


def _check_middleware(given: _Given) -> Iterator[checks.CheckMessage]:
    for path in given.get("MIDDLEWARE"):
        try:
            middleware = import_string(path)
            if not isinstance(middleware, type):
                raise TypeError("it is not a class")
            middleware()
        except Exception as error:
            yield NO_SUCH_MIDDLEWARE.found(path=path, error=str(error))


def _check_command(given: _Given) -> Iterator[checks.CheckMessage]:
    app = get_commands().get("runworker", "django_jobs")
    name = app if isinstance(app, str) else type(app).__module__
    if name != "django_jobs":
        yield OTHER_RUNWORKER.found(app=name)


def _check_tasks(given: _Given) -> Iterator[checks.CheckMessage]:
    queues = given.get("QUEUES")
    unknown = {path: task.queue_name for path, task in _own_tasks() if queues and task.queue_name not in queues}
    if unknown:
        tasks = "; ".join(f'{path} uses "{queue}"{_nearest(queue, queues)}' for path, queue in unknown.items())
        yield UNKNOWN_QUEUE.found(tasks=tasks, queues=", ".join(queues))


def _own_tasks() -> list[tuple[str, Task]]:
    """Return the tasks that QUEUES is about: those of django.tasks have the QUEUES of their alias."""
    return [(path, task) for path, task in registry.all_tasks().items() if type(task) is Task]


def _nearest(queue: str, queues: list[str]) -> str:
    near = get_close_matches(queue, queues, n=1)
    return f' (did you mean "{near[0]}"?)' if near else ""
