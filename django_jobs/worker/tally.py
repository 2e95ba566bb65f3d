"""Counts outcomes in memory, by the minute and queue, and adds them to the database now and then.

What a killed process had not added yet is lost, at most the last seconds: these are figures for people,
and nothing follows from them.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from datetime import UTC, datetime

from django.db import Error as DatabaseAway

from .. import states
from ..histogram import bucket
from ..models import Job, database
from ..models.counter import MINUTE, Cell, Counter
from ..moves import Outcome
from ..sql import statements

logger = logging.getLogger("django_jobs.worker")

FLUSH_SECONDS = 10.0
MOST_CELLS = 20_000  # kept while the database takes none

_KINDS = {states.SUCCEED: "succeeded", states.FAIL: "failed", states.RETRY: "retried"}
_WAIT, _RUN = Counter.Kind.WAIT.value, Counter.Kind.RUN.value


class Tally:
    """What has ended since the last flush."""

    def __init__(self) -> None:
        self._counts: defaultdict[tuple[int, str, str, int], int] = defaultdict(int)
        self._flush_at = 0.0  # monotonic

    def count(self, outcome: Outcome, claimed: float | None = None) -> None:
        """Count an outcome; ``claimed``: when its job's ``claimed_at`` was, by the monotonic clock."""
        job = outcome.job
        if not self._counts:
            self._flush_at = time.monotonic() + FLUSH_SECONDS
        at, counts = _minute(job, outcome, claimed), self._counts
        counts[at, job.queue_name, _KINDS.get(outcome.transition, "cancelled"), 0] += 1
        counts[at, job.queue_name, _RUN, bucket(outcome.finished - outcome.started)] += 1
        waited = _waited(job, outcome, claimed)
        if waited is not None:
            counts[at, job.queue_name, _WAIT, bucket(waited)] += 1

    def flush_if_due(self) -> None:
        """Add what was counted some seconds ago or earlier; an idle worker has nothing to add."""
        if self._counts and time.monotonic() >= self._flush_at:
            self.flush()

    def flush(self) -> None:
        """Add what was counted. While the database does not take it, it is kept: nothing else waits for that."""
        if not self._counts:
            return
        try:
            statements(database()).add_counts(database(), {_cell(key): count for key, count in self._counts.items()})
            self._counts.clear()
        except DatabaseAway as error:
            logger.info("counters are kept for later: %s", error)
            self._flush_at = time.monotonic() + FLUSH_SECONDS
            if len(self._counts) > MOST_CELLS:
                self._counts.clear()


def _minute(job: Job, outcome: Outcome, claimed: float | None) -> int:
    """Return the minute in which a body ended, by the database's clock where we have its word."""
    if claimed is None or job.claimed_at is None:
        return int(time.time() // MINUTE)
    return int((job.claimed_at.timestamp() + outcome.finished - claimed) // MINUTE)


def _waited(job: Job, outcome: Outcome, claimed: float | None) -> float | None:
    """Return the seconds from when the job was due to its start; None where that moment is not known any more."""
    due = job.run_after or (job.enqueued_at if job.attempt == 1 else None)
    if due is None or claimed is None or job.claimed_at is None:
        return None
    return (job.claimed_at - due).total_seconds() + outcome.started - claimed


def _cell(key: tuple[int, str, str, int]) -> Cell:
    minute, queue, kind, number = key
    return Cell(datetime.fromtimestamp(minute * MINUTE, UTC), MINUTE, queue, kind, number)
