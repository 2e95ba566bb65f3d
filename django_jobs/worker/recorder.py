"""Collects outcomes and records them in batches; keeps them for as long as the database is away."""

from __future__ import annotations

import logging
import time
from dataclasses import replace

from django.db import Error

from .. import following, moves, states
from ..patience import Patience
from .executor import Work

logger = logging.getLogger("django_jobs.worker")

BATCH = 100  # outcomes
LOCKED_SECONDS = 0.25  # before another try of an outcome whose row somebody has locked; then twice as long ...
LONGEST_LOCKED = 2.0  # ... up to this
LONGEST_WAIT = 0.010  # seconds that an outcome waits for company


class Recorder:
    """Outcomes that are not recorded yet, oldest first."""

    def __init__(self) -> None:
        self._works: list[Work] = []
        self._since = 0.0  # when the oldest came; monotonic
        self._locked: list[Work] = []  # whose rows somebody has locked, or the database refuses to change at all
        self._locked_until = 0.0  # when they are tried again; monotonic
        self._locked_patience = Patience(first=LOCKED_SECONDS, longest=LONGEST_LOCKED)

    def __len__(self) -> int:
        return len(self._works) + len(self._locked)

    def add(self, work: Work) -> None:
        if not self._works:
            self._since = time.monotonic()
        self._works.append(work)

    def wait(self, company_expected: bool) -> float:
        """Return the seconds until the next flush is worth while; 0: now."""
        if not self._works:
            return max(0.0, self._locked_until - time.monotonic())
        if not company_expected or len(self._works) >= BATCH:
            return 0.0
        return max(0.0, self._since + LONGEST_WAIT - time.monotonic())

    def flush(self) -> list[tuple[Work, bool]]:
        """Record what there is; return each work that is done with, and whether its outcome counted.

        One that did not count was somebody else's by then. Raises what the database raises when it is
        away; everything is kept then.
        """
        if time.monotonic() >= self._locked_until:
            self._works, self._locked = self._locked + self._works, []
        batch = self._works[: 2 * BATCH]
        recorded = record_or_bisect([work for work in batch if not work.recorded])
        missing = [work for work in batch if work.job.id not in recorded and not work.recorded]
        locked = moves.still_held(work.job for work in missing) if missing else set()
        self._works = self._works[len(batch) :]
        if locked:
            self._locked += [work for work in batch if work.job.id in locked]
            self._locked_until = time.monotonic() + self._locked_patience.failed()
        elif not self._locked:
            self._locked_patience.succeeded()
        done = [work for work in batch if work.job.id not in locked]
        return [(work, work.counted if work.recorded else work.job.id in recorded) for work in done]


def record_or_bisect(works: list[Work]) -> set:
    """Record outcomes; one that the database refuses is found by halving and stored as failed."""
    if not works:
        return set()
    try:
        return following.record([work.outcome for work in works])
    except (Error, ValueError) as error:
        if isinstance(error, Error) and not moves.is_refusal(error):
            raise  # the database is away or busy: later
        if len(works) > 1:
            half = len(works) // 2
            return record_or_bisect(works[:half]) | record_or_bisect(works[half:])
        logger.error("the outcome of job %s was refused by the database", works[0].job.id, exc_info=True)
        return record_unstorable(works[0], error)


def record_unstorable(work: Work, error: Exception) -> set:
    """Record that an outcome could not be; where even that is refused, the work stays with us."""
    try:
        return following.record([unstorable(work, error)])
    except Error as error:
        if not moves.is_refusal(error):
            raise
        return set()


def unstorable(work: Work, error: Exception) -> moves.Outcome:
    """Return an outcome that any database takes, in place of one that it does not."""
    return replace(
        work.outcome,
        transition=states.FAIL,
        return_value=None,
        progress=None,
        reason="outcome not storable",
        last_error=f"outcome not storable: {type(error).__name__}",
        failure=None,
        callback=None,
        delay=None,
    )
