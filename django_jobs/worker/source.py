"""Where a child's ids come from: Redis, or the rows themselves when there is none or it is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from uuid import UUID

from .. import backlog, broker
from ..broker import AWAY, WAIT_SECONDS, Breaker, Broker, EpochChanged, ResponseError, Waiter
from ..conf import QUEUE_NAME
from ..models import Meta

logger = logging.getLogger("django_jobs.worker")

SHORTEST_POLL = 0.01  # seconds between looks at the rows while there is work
LONGEST_POLL = 0.1  # ... and while there is none ...
SLOW_POLL = 1.0  # ... and at most, while the answers take long
QUEUES_EVERY = 1.0  # seconds between looks for new queues
SILENCE_SECONDS = 0.5  # after which Redis should have answered that nothing came
LONGEST_PAUSE = 2.0  # seconds between tries while Redis is away
MEANWHILE = "This worker goes on from the database until it is back."


class Source:
    """Ids for one taker, from several queues by turns, so that none of them starves."""

    def __init__(self, taker: str, queues: tuple[str, ...]):
        self._taker = taker
        self._fixed_queues = list(queues)
        self._queues = list(queues)
        self._queues_at = 0.0
        self._turn = 0
        self._broker: Broker | None = None  # made when first needed, and anew after a failure
        self._breaker = (
            Breaker(broker.address_of_jobs(), MEANWHILE, longest=LONGEST_PAUSE) if broker.is_used() else None
        )
        self._epoch = ""
        self.away_since = 0.0  # Redis does not answer; monotonic, 0: it does
        self._is_served = False  # by Redis, at the last take
        self._holding = False  # Redis still lists what we took last
        self._doubtful = False  # a reply was lost: what was taken is not known
        self._brought: list[UUID] = []  # by the last wake-up
        self._waits_since = 0.0  # for a wake-up with ids; monotonic
        self._poll = SHORTEST_POLL
        self._ended: list[UUID] = []  # since the last take: somebody may wait for them
        self.waiter: Waiter | None = None

    @property
    def by_redis(self) -> bool:
        return self._breaker is not None and not self._breaker.is_open

    def take(self, count: int, *, with_blamed: bool = True) -> list[UUID]:
        """Return up to ``count`` ids to be claimed; an empty list when there is nothing.

        ``with_blamed``: also those that are to run alone; Redis does not know which these are.
        """
        if self._brought:
            ids, self._brought = self._brought, []
            return ids
        if self._is_to_be_brought():
            return []
        for _ in range(2):  # an epoch that has changed is read, and Redis asked again
            if not self.by_redis:
                break
            try:
                return self._from_redis(count)
            except EpochChanged:
                self._doubtful = False  # nothing was taken
                self._read_epoch()
            except AWAY as error:
                self._redis_failed(error)
        self._is_served = False
        asked = time.monotonic()
        ids = backlog.waiting(self._next_queues(), count, with_blamed)
        took = time.monotonic() - asked
        self._poll = SHORTEST_POLL if ids else max(5 * took, min(self._poll * 2, LONGEST_POLL))
        return ids

    def forget(self) -> None:
        """Tell Redis that what we took is claimed now: the rows have it."""
        if (self._holding or self._doubtful) and self.by_redis:
            try:
                if self._doubtful:
                    self._connected().give_back(self._taker)
                    self._doubtful = False
                self._connected().take(self._taker, [], 0)
                self._holding = False
            except AWAY as error:
                self._redis_failed(error)

    def ended(self, ids: list[UUID]) -> None:
        """Take note of jobs that have come to their end; the next take says whether anybody waits for that."""
        if self.by_redis:
            self._ended += ids
            self._tell_ended()

    def _tell_ended(self) -> None:
        """Wake whoever waits. Who begins to wait later looks at the row first."""
        if self._broker is not None and self._broker.is_awaited and self._ended:
            try:
                self._broker.tell_ended([id.hex for id in self._ended])
            except AWAY as error:
                self._redis_failed(error)
            self._ended.clear()

    def wait_seconds(self) -> float:
        """Return how long to wait for work: Redis wakes us, unless it has fallen silent; the rows have to be asked."""
        if not self.by_redis:
            return min(self._poll, SLOW_POLL)
        return WAIT_SECONDS + SILENCE_SECONDS if self.waiter is not None and self.waiter.armed else QUEUES_EVERY

    def arm(self) -> None:
        """Ask Redis to wake us when there is work."""
        if not self.by_redis or (self.waiter and self.waiter.armed):
            return
        try:
            keys = self._connected().wake_keys(self._queues, new=not self._fixed_queues)
            self.waiter.arm(keys)
        except AWAY as error:
            self._redis_failed(error)

    def take_when_woken(self, count: int) -> None:
        """Let Redis hand us up to ``count`` ids with the wake-up; until then ``take`` returns none.

        Only for a child at rest: nobody would start what is handed to one whose body holds the interpreter.
        """
        if not self._is_served or not self.waiter.armed or self.waiter.followed:
            return
        queues = self._next_queues()
        if not self._is_served:  # any more: Redis has gone
            return
        try:
            self.waiter.follow_with(*self._broker.take_command(self._taker, queues, count, self._epoch))
            self._waits_since = time.monotonic()
        except AWAY as error:
            self._redis_failed(error)

    def _is_to_be_brought(self) -> bool:
        """Say whether Redis is to hand us ids with the wake-up; one that is overdue does not come any more."""
        if self.waiter is None or not self.waiter.followed:
            return False
        if time.monotonic() < self._waits_since + WAIT_SECONDS + SILENCE_SECONDS:
            return True
        self._give_up_waiting()
        return False

    def _give_up_waiting(self) -> None:
        self._doubtful = self._doubtful or self.waiter.followed
        self.waiter.close()

    def woken(self, useful: bool) -> None:
        """Take note of a wake-up; pass it on if we have no use for it."""
        followed = self.waiter.followed
        self._doubtful = self._doubtful or followed
        try:
            key, answer = self.waiter.read()
            if key and not useful:
                self._broker.wake(key)
            elif key and self._broker.is_of_new_queues(key):
                self._queues_at = 0.0  # looked at again
            if followed:
                self._open(answer, useful)
        except AWAY as error:
            self._redis_failed(error)

    def _open(self, answer: bytes | ResponseError | None, useful: bool) -> None:
        """Take what Redis has handed us; if we have no use for it any more, give it back."""
        if isinstance(answer, ResponseError):
            return  # what it took before the error goes back with the next ``take``
        if not useful:
            self.forget()
            return
        with suppress(EpochChanged):  # the next ``take`` finds out
            self._brought = self._took(self._broker.taken(answer))

    def leave(self) -> None:
        """Put back what was taken and not claimed; a parting."""
        if self._broker is None:
            return
        try:
            self.waiter.close()
            self._broker.give_back(self._taker)
            self._broker.close()
        except AWAY:
            logger.debug("Redis is away at the end; the rows have it all")

    def queues(self) -> list[str]:
        """Return the queues served: the ones given, or all that there are, looked at each second."""
        now = time.monotonic()
        if not self._fixed_queues and now >= self._queues_at + QUEUES_EVERY:
            self._queues_at = now
            self._queues = sorted(self._find_queues())
        return self._queues

    def _find_queues(self) -> Iterable[str]:
        if self.by_redis:
            try:
                return filter(QUEUE_NAME.match, self._connected().queues())
            except AWAY as error:
                self._redis_failed(error)
        return backlog.queues_with_work()

    def _connected(self) -> Broker:
        if self._broker is None:
            self._broker = broker.for_worker()
            self.waiter = self._broker.waiter()
        return self._broker

    def _from_redis(self, count: int) -> list[UUID]:
        if not self._epoch:
            self._read_epoch()
        queues = self._next_queues()
        if self._doubtful:
            self._connected().give_back(self._taker)
        self._doubtful = True
        return self._took(self._connected().take(self._taker, queues, count, self._epoch))

    def _took(self, ids: list[str]) -> list[UUID]:
        self._doubtful = False
        self._is_served, self._holding = True, bool(ids)
        self._tell_ended()
        self._ended.clear()
        self._breaker.succeeded()
        self.away_since = 0.0
        return list(_uuids(ids))

    def _next_queues(self) -> list[str]:
        queues = self.queues()
        self._turn += 1
        start = self._turn % len(queues) if queues else 0
        return queues[start:] + queues[:start]

    def _read_epoch(self) -> None:
        """Learn the epoch from the database; until Redis is at the same one, the rows are asked."""
        self._epoch = Meta.objects.filter(key=Meta.EPOCH).values_list("value", flat=True).first() or ""

    def _redis_failed(self, error: BaseException) -> None:
        if self.waiter:
            self._give_up_waiting()
        self._is_served, self._broker = False, None
        self.away_since = self.away_since or time.monotonic()
        self._breaker.failed(error)


def _uuids(texts: Iterable[str]) -> Iterable[UUID]:
    """Yield what is an id; anything else under our keys is not ours."""
    for text in texts:
        try:
            yield UUID(text)
        except ValueError:
            logger.warning("Redis holds %.60r, which is no id of a job; it is dropped", text)
