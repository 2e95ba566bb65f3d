"""Clients for the Redis of a cache alias: its address and credentials, with pools and timeouts of our own."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django_redis.pool import get_connection_factory
from redis import ConnectionPool, Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from .. import embedded

# A page must answer while Redis is away; a worker can wait, though not for long: meanwhile it could ask the rows.
PRODUCER = {"socket_connect_timeout": 0.1, "socket_timeout": 0.2}  # seconds
WAITER = {"socket_connect_timeout": 0.2, "socket_timeout": 5.0}  # seconds
LOOK = {"socket_connect_timeout": 0.5, "socket_timeout": 0.5}  # seconds
WORKER = {"socket_connect_timeout": 1.0, "socket_timeout": 1.0}  # seconds


def connect(alias: str, timeouts: dict[str, float]) -> Redis:
    """Return a client for the alias; it connects at its first command.

    Raises ImproperlyConfigured when CACHES has no such alias or it is not a django-redis cache.
    """
    cache = cache_settings(alias)
    url = embedded.ensure_running(location(cache))
    options = dict(cache.get("OPTIONS") or {})
    factory = get_connection_factory(options)
    pool = factory.get_connection_pool(factory.make_connection_params(url))
    pool.connection_kwargs["decode_responses"] = False
    make_impatient(pool, timeouts)
    for sentinel in pool.sentinel_manager.sentinels if isinstance(pool, SentinelConnectionPool) else ():
        make_impatient(sentinel.connection_pool, timeouts)  # they have settings of their own
    return factory.redis_client_cls(connection_pool=pool, **factory.redis_client_cls_kwargs)


def make_impatient(pool: ConnectionPool, timeouts: dict[str, float]) -> None:
    """Let connections wait no longer than these timeouts, and try nothing again behind our back."""
    pool.connection_kwargs.update(
        timeouts, retry=Retry(NoBackoff(), 0), retry_on_timeout=False, health_check_interval=0
    )
    pool.connection_kwargs.pop("retry_on_error", None)


def cache_settings(alias: str) -> dict[str, Any]:
    """Return the alias's entry in CACHES."""
    if alias not in settings.CACHES:
        known = ", ".join(settings.CACHES)
        raise ImproperlyConfigured(f'DJANGO_JOBS["CACHE"] is {alias!r}, but CACHES has only: {known}.')
    return settings.CACHES[alias]


def location(cache: dict[str, Any]) -> str:
    """Return the URL of the primary server; django-redis takes a list, or names joined by commas."""
    where = cache.get("LOCATION") or ""
    if isinstance(where, str):
        where = where.split(",")
    if not where or not is_url(where[0]):
        raise ImproperlyConfigured(
            'LOCATION of the jobs cache must be a Redis URL such as "redis://127.0.0.1:6379/1"; '
            "in a password, @ is written %40, / %2F, # %23, ? %3F and a comma %2C."
        )
    return where[0]


def is_url(text: str) -> bool:
    """Say whether a URL can be taken apart; else a part of its password could pass for a port or a path."""
    parts = urlsplit(text)
    try:
        parts.port  # noqa: B018  raises for what is no number
    except ValueError:
        return False
    where = parts.hostname or (parts.scheme == "unix" and parts.path)
    return bool(parts.scheme and where) and "@" not in parts.path + parts.query + parts.fragment


def address(alias: str) -> str:
    """Return where the alias's Redis is, without credentials, for people."""
    parts = urlsplit(location(cache_settings(alias)))
    host = parts.hostname or ""
    return f"{host}{f':{parts.port}' if parts.port else ''}{parts.path}"
