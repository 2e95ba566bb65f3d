"""The transport: ids on Redis lists. It may be empty, late or away; the rows are the truth."""

from __future__ import annotations

import os
import threading
from typing import NamedTuple

from django.conf import settings
from redis.exceptions import RedisError

from ..conf import jobs_settings
from .breaker import Breaker
from .broker import Broker, Count, EpochChanged, Waiting
from .connection import PRODUCER, WORKER, address, connect
from .waiter import Waiter

__all__ = [
    "Breaker",
    "Broker",
    "Count",
    "EpochChanged",
    "RedisError",
    "Waiter",
    "Waiting",
    "address_of_jobs",
    "for_worker",
    "is_used",
    "try_push",
]


class _Producer(NamedTuple):
    broker: Broker
    breaker: Breaker


_producers: dict[tuple, _Producer] = {}
_lock = threading.Lock()


def is_used() -> bool:
    """Say whether there is a Redis at all: with CACHE None everything goes through the database."""
    return jobs_settings.CACHE is not None


def address_of_jobs() -> str:
    """Return where the jobs' Redis is, without credentials, for people."""
    return address(jobs_settings.CACHE)


def for_worker() -> Broker:
    """Return a broker of the caller's own, with a worker's patient timeouts."""
    return Broker(connect(jobs_settings.CACHE, WORKER), jobs_settings.PREFIX)


def try_push(waiting: list[Waiting]) -> bool:
    """Push ids without ever raising or keeping the caller for long; say whether Redis has them.

    What it has not, the workers find in the rows.
    """
    if not is_used():
        return False
    producer = _producer()
    if producer.breaker.is_open:
        return False
    try:
        producer.broker.push(waiting)  # may be repeated: what is known is not pushed twice
    except (RedisError, OSError) as error:
        producer.breaker.failed(error)
        return False
    producer.breaker.succeeded()
    return True


def _producer() -> _Producer:
    """Return this process's broker for enqueueing, made anew after a fork or a change of settings."""
    alias = jobs_settings.CACHE
    identity = (os.getpid(), alias, jobs_settings.PREFIX, str(settings.CACHES.get(alias)))
    if identity not in _producers:
        with _lock:
            _producers[identity] = _Producer(
                Broker(connect(alias, PRODUCER), jobs_settings.PREFIX), Breaker(address(alias))
            )
    return _producers[identity]
