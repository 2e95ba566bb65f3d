"""The transport: ids on Redis lists. It may be empty, late or away; the rows are the truth."""

from __future__ import annotations

import os
import time
from functools import cached_property, partial
from typing import NamedTuple

from django.conf import settings
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import RedisError, ResponseError

from ..conf import jobs_settings
from ..exceptions import EmbeddedServerError
from .breaker import Breaker
from .broker import WAIT_SECONDS, Broker, Count, EpochChanged, Waiting
from .cluster import ClusterConnectionFactory
from .connection import LOOK, PRODUCER, WAITER, WORKER, address, connect
from .waiter import Waiter, Wake

__all__ = [
    "AWAY",
    "WAIT_SECONDS",
    "Breaker",
    "Broker",
    "ClusterConnectionFactory",
    "Count",
    "EpochChanged",
    "RedisError",
    "ResponseError",
    "Trouble",
    "Waiter",
    "Waiting",
    "Wake",
    "address_of_jobs",
    "for_waiting",
    "for_worker",
    "is_used",
    "trouble",
    "try_push",
]


_producers: dict[tuple, _Producer] = {}


AT_ONCE = 0.05  # seconds, in which a cut connection is noticed; to try again after more would keep a page waiting
AWAY = (RedisError, OSError, EmbeddedServerError)  # what Redis raises when it cannot be reached


def is_used() -> bool:
    """Say whether there is a Redis at all: with CACHE None everything goes through the database."""
    return jobs_settings.CACHE is not None


def address_of_jobs() -> str:
    """Return where the jobs' Redis is, without credentials, for people."""
    return address(jobs_settings.CACHE)


def for_worker() -> Broker:
    """Return a broker of the caller's own, with a worker's patient timeouts."""
    return Broker(connect(jobs_settings.CACHE, WORKER), jobs_settings.PREFIX)


def for_waiting() -> Broker:
    """Return this process's broker for those who wait for the ends of jobs."""
    return _producer().for_waiting


class Trouble(NamedTuple):
    """What keeps Redis from serving: it is away, or it ``refuses`` what is written, since it is full, say."""

    error: str
    refuses: bool


def trouble() -> Trouble | None:
    """Return what keeps Redis from serving, asked for a second at most; None when it does, or none is used."""
    if not is_used():
        return None
    try:
        client = connect(jobs_settings.CACHE, LOOK)
        Broker(client, jobs_settings.PREFIX).try_out()
        client.close()
    except AWAY as error:
        return Trouble(str(error).rstrip(".") or type(error).__name__, isinstance(error, ResponseError))
    return None


def try_push(waiting: list[Waiting], *, first: bool = False) -> bool:
    """Push ids without ever raising or keeping the caller for long; say whether nothing is known to be wrong.

    A single one is sent, and not waited for. What Redis has not, the workers find in the rows.
    """
    return is_used() and _producer().try_push(waiting, first)


class _Producer:
    """What a process enqueues through: a connection made when first needed, and made anew after a failure."""

    def __init__(self, alias: str, prefix: str):
        self._alias = alias
        self._prefix = prefix
        self._broker: Broker | None = None
        self._breaker = Breaker(
            f'{address(alias)} (CACHES["{alias}"])', "The job is stored and will start when Redis is back."
        )

    @cached_property
    def for_waiting(self) -> Broker:
        return Broker(connect(self._alias, WAITER), self._prefix)

    def try_push(self, waiting: list[Waiting], first: bool) -> bool:
        if self._breaker.is_open:
            return False
        try:
            self._push(waiting, first)
        except AWAY as error:
            self._broker = None  # the next one may have to start the embedded server again
            self._breaker.failed(error)
            return False
        self._breaker.succeeded()
        return True

    def _push(self, waiting: list[Waiting], first: bool) -> None:
        broker = self._broker
        if broker is None:
            clients = connect(self._alias, PRODUCER), connect(self._alias, PRODUCER)
            broker = self._broker = Broker(clients[0], self._prefix, hasty=clients[1])
        push = partial(broker.push, waiting, first=first)
        if len(waiting) == 1 and not first:
            push = partial(broker.push_one, waiting[0])
        began = time.monotonic()
        try:
            push()
        except Disconnected:  # perhaps only cut while idle; what is known is not pushed twice
            if time.monotonic() > began + AT_ONCE:
                raise
            push()


def _producer() -> _Producer:
    """Return this process's broker for enqueueing, made anew after a fork or a change of settings."""
    alias = jobs_settings.CACHE
    identity = (os.getpid(), alias, jobs_settings.PREFIX, str(settings.CACHES.get(alias)))
    if identity not in _producers:
        _producers.setdefault(identity, _Producer(alias, jobs_settings.PREFIX))  # no lock, which a fork might copy
    return _producers[identity]
