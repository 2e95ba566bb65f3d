"""Where a child's ids come from: Redis, or the rows themselves when there is none or it is away."""

from __future__ import annotations

import logging
import time
from uuid import UUID

from .. import broker, moves
from ..broker import Breaker, EpochChanged, RedisError
from ..models import Meta, Queue

logger = logging.getLogger("django_jobs.worker")

SHORTEST_POLL = 0.01  # seconds between looks at the rows while there is work
LONGEST_POLL = 0.1  # ... and while there is none
QUEUES_EVERY = 1.0  # seconds between looks for new queues
EPOCH_KEY = "epoch"


class Source:
    """Ids for one taker, from several queues by turns, so that none of them starves."""

    def __init__(self, taker: str, queues: tuple[str, ...]):
        self._taker = taker
        self._fixed_queues = list(queues)
        self._queues = list(queues)
        self._queues_at = 0.0
        self._turn = 0
        self._broker = broker.for_worker() if broker.is_used() else None
        self._breaker = Breaker(broker.address_of_jobs()) if self._broker else None
        self._epoch = ""
        self._holding = False  # Redis still lists what we took last
        self._doubtful = False  # a reply was lost: what was taken is not known
        self._poll = SHORTEST_POLL
        self.waiter = self._broker.waiter() if self._broker else None

    @property
    def by_redis(self) -> bool:
        return self._broker is not None and not self._breaker.is_open

    def take(self, count: int) -> list[UUID]:
        """Return up to ``count`` ids to be claimed; an empty list when there is nothing."""
        if self.by_redis:
            try:
                return self._from_redis(count)
            except EpochChanged:
                self._read_epoch()
            except (RedisError, OSError) as error:
                self._redis_failed(error)
        ids = moves.waiting(self._next_queues(), count)
        self._poll = SHORTEST_POLL if ids else min(self._poll * 2, LONGEST_POLL)
        return ids

    def forget(self) -> None:
        """Tell Redis that what we took is claimed now: the rows have it."""
        if self._holding and self.by_redis:
            try:
                self._broker.take(self._taker, [], 0)
                self._holding = False
            except (RedisError, OSError) as error:
                self._redis_failed(error)

    def wait_seconds(self) -> float:
        """Return how long to wait for work: Redis wakes us, the rows have to be asked."""
        return 1.0 if self.by_redis else self._poll

    def arm(self) -> None:
        """Ask Redis to wake us when there is work."""
        if self.by_redis and not self.waiter.armed and self._queues:
            try:
                self.waiter.arm(self._broker.wake_keys(self._queues))
            except (RedisError, OSError) as error:
                self._redis_failed(error)

    def woken(self, useful: bool) -> None:
        """Take note of a wake-up; pass it on if we have no use for it."""
        try:
            key = self.waiter.read()
            if key and not useful:
                self._broker.wake(key)
        except (RedisError, OSError) as error:
            self._redis_failed(error)

    def leave(self) -> None:
        """Put back what was taken and not claimed; a parting."""
        if self._broker is not None:
            self.waiter.close()
            try:
                self._broker.give_back(self._taker)
                self._broker.close()
            except (RedisError, OSError):
                logger.debug("Redis is away at the end; the rows have it all")

    def queues(self) -> list[str]:
        """Return the queues served: the ones given, or all that there are, looked at each second."""
        now = time.monotonic()
        if not self._fixed_queues and now >= self._queues_at + QUEUES_EVERY:
            self._queues_at = now
            found = self._broker.queues() if self.by_redis else Queue.objects.values_list("name", flat=True)
            self._queues = sorted(found)
        return self._queues

    def _from_redis(self, count: int) -> list[UUID]:
        if not self._epoch:
            self._read_epoch()
        if self._doubtful:
            self._broker.give_back(self._taker)
        self._doubtful = True
        ids = self._broker.take(self._taker, self._next_queues(), count, self._epoch)
        self._doubtful = False
        self._holding = bool(ids)
        self._breaker.succeeded()
        return [UUID(id) for id in ids]

    def _next_queues(self) -> list[str]:
        queues = self.queues()
        self._turn += 1
        start = self._turn % len(queues) if queues else 0
        return queues[start:] + queues[:start]

    def _read_epoch(self) -> None:
        """Learn the epoch from the database; until Redis is at the same one, the rows are asked."""
        self._doubtful = False
        self._epoch = Meta.objects.filter(key=EPOCH_KEY).values_list("value", flat=True).first() or ""

    def _redis_failed(self, error: BaseException) -> None:
        self.waiter.close()
        self._breaker.failed(error)
