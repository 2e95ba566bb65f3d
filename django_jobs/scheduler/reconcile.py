"""Pushes what Redis does not know: rows that are queued while their ids are neither waiting nor taken.

Why that happens: the enqueuing process died between COMMIT and push, Redis was away, lost its data, or was
restored from an older copy. Two sweeps find it, and neither relies on ids or times being in the order of
commits: the newest rows of each lane every second, and all rows, round after round.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import suppress
from uuid import UUID

from .. import broker, enqueue, states
from ..backlog import queues_with_work
from ..broker import AWAY, Broker, ResponseError
from ..ids import first_id_since
from ..models import Job, Queue, Worker
from ..moves import Moved
from ..patience import Patience
from ..plain import plain
from . import epoch
from .rescue import present

logger = logging.getLogger("django_jobs.scheduler")

PAGE = 2_000  # rows of one question
SWEEP = 10_000  # rows looked at in one go: all are seen within (queued rows / SWEEP) seconds
ROUND_SHARE = 20  # a round that took so long is followed by a pause of so many times that
NEWEST = 500  # rows of each lane looked at in each go
NEWEST_SECONDS = 60.0  # made since then: farther back there may be dead rows that an old snapshot keeps
LANES = 50  # whose newest rows are looked at in each go
AUDIT_SECONDS = 10.0
LONGEST_PAUSE = 2.0  # seconds between tries while Redis is away: a silent one keeps the other chores waiting
FIRST_ID = UUID(int=0)

Lane = tuple[str, int]  # queue and priority


class Reconcile:
    """Keeps Redis in step with the rows; holds its place between the goes."""

    def __init__(self, *, first_after: float = 0.0) -> None:
        """``first_after``: seconds to the first round; a worker that has just started has better things to do."""
        self._broker: Broker | None = None
        self._pages: Iterator[tuple[Lane, list[UUID]]] = iter(())
        self._lanes: set[Lane] = set()
        self._round_at = time.monotonic() + first_after  # when the next one may begin
        self._round_took = 0.0
        self._audit_at = 0.0
        self._suspects: set[str] = set()
        self._refused = False  # it answers, and takes nothing in
        self._patience, self._retry_at = Patience(longest=LONGEST_PAUSE), 0.0

    def __call__(self) -> int:
        """Do one go; return how many ids were pushed. With Redis away there is nothing to do."""
        if not broker.is_used() or time.monotonic() < self._retry_at:
            return 0
        try:
            self._broker = self._broker or broker.for_worker()
            refill = self._agree_on_epoch()
            self._broker.set_paused(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))
            self._free_takers()
            self._audit()
            self._refused = False
            self._patience.succeeded()
            return self._refill() if refill else self._sweep_newest() + self._sweep_some()
        except ResponseError as error:
            self._withdraw(error)
            return 0
        except AWAY as error:
            self._broker, self._retry_at = None, time.monotonic() + self._patience.failed()
            logger.debug("Redis is away (%s); the rows wait", error)
            return 0

    def _agree_on_epoch(self) -> bool:
        """Bring Redis to the database's epoch; say whether it was at another and has to be filled anew."""
        (agreed, is_old), found = epoch.read(), self._broker.epoch()
        if agreed is None:  # the first worker ever: nothing is lost, for nothing was agreed on
            self._broker.set_epoch(epoch.make())
            return False
        if found == agreed:
            new = epoch.change_if_old(agreed) if is_old else None
            self._broker.set_epoch(new or agreed)  # also a trial: does it take anything in?
            return False
        logger.info("Redis is empty or has older data; it is filled from the database")
        for queue in {*self._broker.queues(), *queues_with_work()}:
            self._broker.drop(queue)
        self._broker.set_epoch(agreed)
        return True

    def _withdraw(self, error: ResponseError) -> None:
        """Make the workers ask the rows: Redis is full, say, and lacks what it does not let us put back."""
        if not self._refused:
            logger.warning("Redis refuses a command (%s); workers go on from the database", error)
        self._refused = True
        with suppress(*AWAY):
            self._broker.forget_epoch()
        self._broker = None

    def _free_takers(self) -> None:
        """Put back what children of workers that are gone had taken."""
        takers = self._broker.takers()
        if not takers:
            return
        alive = {pk.hex for pk in Worker.objects.filter(present()).values_list("pk", flat=True)}
        for taker in takers:
            if taker.partition(":")[0] not in alive:
                try:
                    self._broker.give_back(taker)
                except ResponseError:  # not ours, or damaged
                    self._broker.forget_taker(taker)

    def _audit(self) -> None:
        """Mistrust Redis's own books: a queue that is wrong in them twice is emptied, to be filled again."""
        if time.monotonic() < self._audit_at:
            return
        self._audit_at = time.monotonic() + AUDIT_SECONDS
        named = set(self._broker.queues())
        wrong = {*queues_with_work()} - named | {queue for queue in named if not self._adds_up(queue)}
        for queue in wrong & self._suspects:
            logger.warning("what Redis holds of queue %s does not add up; it is filled again", plain(queue))
            self._broker.drop(queue)
        self._suspects = wrong - self._suspects

    def _adds_up(self, queue: str) -> bool:
        count = self._broker.count(queue)
        return count.waiting + count.taken == count.known

    def _refill(self) -> int:
        pushed = sum(self._push_unknown(lane, ids) for lane, ids in self._new_round())
        if pushed:
            logger.warning("Redis had lost its data, or had older ones; %d jobs were put back from the rows", pushed)
        return pushed

    def _sweep_some(self) -> int:
        """Go on with the round; one go is a second's share of it, or what is left."""
        pushed = seen = 0
        while seen < SWEEP and time.monotonic() >= self._round_at:
            asked = time.monotonic()
            lane, ids = next(self._pages, (None, []))
            self._round_took += time.monotonic() - asked
            if lane is None:
                self._round_at, self._round_took = time.monotonic() + ROUND_SHARE * self._round_took, 0.0
                self._pages = self._new_round()
                break
            pushed += self._push_unknown(lane, ids)
            seen += len(ids)
        return pushed

    def _sweep_newest(self) -> int:
        pushed, since = 0, first_id_since(time.time() - NEWEST_SECONDS)
        for lane in list(self._lanes)[:LANES]:
            ids = rows_of(lane).filter(pk__gte=since).order_by("-pk").values_list("pk", flat=True)[:NEWEST]
            pushed += self._push_unknown(lane, list(ids)[::-1])
        return pushed

    def _new_round(self) -> Iterator[tuple[Lane, list[UUID]]]:
        """Yield all queued rows, page by page, each queue's most urgent first."""
        lanes: set[Lane] = set()
        for queue in queues_with_work():
            for priority in priorities_of(queue):
                lane = queue, priority
                lanes.add(lane)
                yield from ((lane, ids) for ids in pages_of(lane))
        self._lanes = lanes

    def _push_unknown(self, lane: Lane, ids: list[UUID]) -> int:
        queue, priority = lane
        unknown = self._broker.unknown(queue, [id.hex for id in ids])
        enqueue.dispatch(Moved(UUID(id), queue, priority) for id in unknown)
        return len(unknown)


def priorities_of(queue: str) -> Iterator[int]:
    """Yield the priorities that queued jobs of a queue have, highest first, each found by the index."""
    rows = Job.objects.filter(state=states.QUEUED, queue_name=queue).order_by("-priority")
    priority = rows.values_list("priority", flat=True).first()
    while priority is not None:
        yield priority
        priority = rows.filter(priority__lt=priority).values_list("priority", flat=True).first()


def pages_of(lane: Lane) -> Iterator[list[UUID]]:
    """Yield the ids of a lane's queued rows in pages."""
    last = FIRST_ID
    while ids := list(rows_of(lane).filter(pk__gt=last).order_by("pk").values_list("pk", flat=True)[:PAGE]):
        yield ids
        last = ids[-1]


def rows_of(lane: Lane):
    return Job.objects.filter(state=states.QUEUED, queue_name=lane[0], priority=lane[1])
