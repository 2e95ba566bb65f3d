"""Does the chores by turns, in one worker at a time: whoever holds a short lease on them.

The lease spares the database; no correctness depends on it, for each chore may be run by any worker at
any time.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from functools import cached_property
from math import inf
from uuid import UUID

from django.db import Error as DatabaseAway
from django.db import connections
from django.db.models import BooleanField, ExpressionWrapper, Q

from .. import failpoints
from ..models import DbNow, Meta, Worker, database
from ..moves import is_refusal
from ..patience import Patience
from ..sql.once import Update
from .chore import Chore
from .look import Look
from .rescue import present

logger = logging.getLogger("django_jobs.scheduler")

KEY = "chores"
LEASE_SECONDS = 6.0
TURN_SECONDS = 1.0  # at most between turns of the one who has the lease; what is due sooner, and known, is waited for
QUIET_TURN_SECONDS = 1.8  # ... when nothing was due for a while; an edit is to take effect within two seconds
QUIET_AFTER = 10.0  # seconds
SHORTEST_TURN = 0.01  # seconds
VAIN_SHARE = 20  # a look in vain that took so long is followed by a pause of so many times that ...
MOST_RARE = 5  # ... but of at most so many times the usual one
LONGEST_PAUSE = 60.0  # before another try of a chore that fails
COUNT_SECONDS = 120.0  # between counts of the others
SHARE = 2.5  # looks at the lease a second, by all the others together


class Duties:
    """The chores of one worker."""

    def __init__(self, worker: UUID, chores: Sequence[Chore], at_start: Sequence[Callable[[], object]] = ()):
        self._worker = worker.hex
        self._at_start = list(at_start)
        self._chores = chores
        self._patience = {chore.name: patience_with(chore) for chore in chores}
        self._due = dict.fromkeys((chore.name for chore in chores), 0.0)  # monotonic
        self._ran_at = dict.fromkeys((chore.name for chore in chores), -inf)  # monotonic
        self._resting: set[str] = set()  # which had nothing to do at the last look
        self._looks: dict[tuple[str, ...], Look] = {}  # by what is asked about
        self._found_at = time.monotonic()  # when anything was due last
        self._renew_at = 0.0
        self._others = 1
        self._count_at = 0.0

    def turn(self, *, is_steady: Callable[[], bool]) -> float:
        """Do what is due, if it is our turn; return the seconds until the next look.

        ``is_steady``: whether our own heartbeats have succeeded for long enough to judge others by theirs.
        """
        while self._at_start:
            self._begin(self._at_start[0])
            del self._at_start[0]
        if not self._has_lease():
            return random.uniform(0.5, 1.5) * max(1.0, self._others / SHARE)
        for chore in self._worth_while(self._due_now()):
            if chore.needs_steady and not is_steady():
                self._due[chore.name] = time.monotonic() + chore.every
            else:
                self._do(chore)
        pause = min(self._due.values()) - time.monotonic()
        return max(SHORTEST_TURN, min(pause, self._turn_seconds))

    @property
    def _turn_seconds(self) -> float:
        is_quiet = time.monotonic() > self._found_at + QUIET_AFTER
        return QUIET_TURN_SECONDS if is_quiet else TURN_SECONDS

    def _due_now(self) -> list[Chore]:
        """Return what is due and, if anything is, what rests until soon: one look for all."""
        now = time.monotonic()
        if now + SHORTEST_TURN < min(self._due.values()):
            return []
        until = dict.fromkeys(self._resting, now + self._turn_seconds)
        return [chore for chore in self._chores if self._due[chore.name] <= until.get(chore.name, now)]

    def _begin(self, act: Callable[[], object]) -> None:
        """Do what every worker does once, lease or no lease; again if the database is away."""
        try:
            act()
        except DatabaseAway:
            raise
        except Exception:
            logger.exception("%s failed at the start", act.__name__)

    def _worth_while(self, due: Sequence[Chore]) -> Iterator[Chore]:
        """Yield the chores for which there are rows, or that have not run for a while."""
        now = time.monotonic()
        asked = [chore for chore in due if chore.rows and now < self._ran_at[chore.name] + chore.at_least]
        found = self._look(asked) if asked else {}
        answered = time.monotonic()
        for chore in due:
            if chore not in asked or found.get(chore.name, inf) <= 0:
                yield chore
                continue
            self._rest(chore, now if chore.may_crawl else answered)
            if chore.name in found:
                self._due[chore.name] = min(self._due[chore.name], answered + found[chore.name])

    def _look(self, chores: Sequence[Chore]) -> dict[str, float]:
        names = tuple(chore.name for chore in chores)
        if names not in self._looks:
            self._looks[names] = Look(chores, timedelta(seconds=QUIET_TURN_SECONDS))
        try:
            found = self._looks[names]()
        except DatabaseAway as error:
            if not is_refusal(error):
                raise
            logger.exception("the chores could not be looked at; each looks for itself")
            return dict.fromkeys(names, 0.0)
        if found:
            self._found_at = time.monotonic()
        return found

    def _do(self, chore: Chore) -> None:
        started = self._ran_at[chore.name] = time.monotonic()
        self._due[chore.name] = started + chore.every
        self._resting.discard(chore.name)
        try:
            failpoints.hit(f"chore_{chore.name}")
            moved = chore.run()
        except Exception as error:
            if isinstance(error, DatabaseAway) and not is_refusal(error):
                raise
            pause = self._patience[chore.name].failed()
            self._due[chore.name] = time.monotonic() + pause
            logger.exception("chore %s failed; it is tried again in %g s", chore.name, pause)
        else:
            self._patience[chore.name].succeeded()
            if moved:
                logger.debug("chore %s moved %d rows", chore.name, moved)
            else:
                self._rest(chore, started)

    def _rest(self, chore: Chore, started: float) -> None:
        """Let a chore rest that has looked in vain since ``started``: the longer that took, the longer it rests."""
        took = time.monotonic() - started
        pause = max(self._turn_seconds, chore.every, min(VAIN_SHARE * took, MOST_RARE * chore.every))
        self._due[chore.name] = started + pause
        if chore.rows:
            self._resting.add(chore.name)

    def _has_lease(self) -> bool:
        """Hold, renew or take the lease. On SQLite everybody does the chores: writing it would cost more."""
        if connections[database()].vendor == "sqlite":
            return True
        now = time.monotonic()
        if now < self._renew_at:
            return True
        held = self._renew_at > 0.0
        if not (held or self._is_free()) or not self._take():
            self._renew_at = 0.0
            self._count_others(now)
            return False
        self._renew_at = now + LEASE_SECONDS - 1.1 * self._turn_seconds
        return True

    def leave(self) -> None:
        """Let another worker do the chores at once."""
        if self._renew_at:
            Meta.objects.filter(key=KEY, value=self._worker).update(until=DbNow())
            self._renew_at = 0.0

    def _is_free(self) -> bool:
        """Look before taking: a look costs the database nothing, a write does."""
        free = ExpressionWrapper(Q(value=self._worker) | Q(until__lte=DbNow()), output_field=BooleanField())
        found = Meta.objects.filter(key=KEY).values_list(free, flat=True).first()
        if found is None:
            Meta.objects.using(database()).bulk_create([Meta(key=KEY, until=DbNow())], ignore_conflicts=True)
        return found is not False

    def _take(self) -> bool:
        return bool(self._update_lease())

    @cached_property
    def _update_lease(self) -> Update:
        free = Meta.objects.filter(Q(value=self._worker) | Q(until__lte=DbNow()), key=KEY)
        return Update(free, value=self._worker, until=DbNow() + timedelta(seconds=LEASE_SECONDS))

    def _count_others(self, now: float) -> None:
        if now >= self._count_at:
            self._count_at = now + COUNT_SECONDS
            self._others = Worker.objects.filter(present()).count()


def patience_with(chore: Chore) -> Patience:
    """Return the pauses of a chore that fails again and again."""
    return Patience(first=2 * chore.every, longest=max(chore.every, LONGEST_PAUSE))
