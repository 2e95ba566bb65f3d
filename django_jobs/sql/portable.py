"""Insert, claim and record by the ORM, for every database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from django.db import models, transaction
from django.db.models import F, Q

from .. import states
from ..models import Counter, DbNow, EncodedText, Job, Queue, db_now
from ..models.counter import Cell
from .outcome import Row


def insert(alias: str, jobs: Sequence[Job]) -> None:
    """Insert new jobs, and tell them when."""
    now = db_now()
    for job in jobs:
        if not isinstance(job.enqueued_at, datetime):
            job.enqueued_at = now
    Job.objects.using(alias).bulk_create(jobs)


def claim(alias: str, ids: Sequence[UUID], worker: UUID, slot: int, alone: bool) -> list[Job]:
    """Claim those of the ids that are queued, due, not paused and no one else's; return them.

    Those with which a process has died before are claimed only to run ``alone``.
    """
    with transaction.atomic(using=alias):
        free = claimable(alias, ids, alone).annotate(now=DbNow())
        jobs = list(free.select_for_update(skip_locked=True))
        changed = Job.objects.using(alias).filter(pk__in=[job.pk for job in jobs], state=states.QUEUED)
        count = changed.update(
            state=states.CLAIM.target,
            claim=F("claim") + 1,
            attempt=F("attempt") + 1,
            worker=worker,
            slot=slot,
            claimed_at=DbNow(),
            started_at=None,
        )
        if count != len(jobs):
            raise RuntimeError("rows changed under the lock of a claim")
    for job in jobs:
        job.state, job.worker, job.slot = states.RUNNING, worker, slot
        job.claimed_at = job.now
        job.claim += 1
        job.attempt += 1
    return jobs


def claimable(alias: str, ids: Sequence[UUID], alone: bool) -> models.QuerySet:
    unblamed = Q() if alone else Q(losses=0, suspected=False)
    return (
        Job.objects.using(alias)
        .filter(unblamed, pk__in=ids, state=states.QUEUED)
        .filter(Q(run_after__isnull=True) | Q(run_after__lte=DbNow()))
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=DbNow()))
        .exclude(queue_name__in=Queue.objects.using(alias).filter(paused_at__isnull=False).values("name"))
    )


def record(alias: str, rows: Sequence[Row]) -> set[UUID]:
    """Write outcomes for those jobs whose claim is still the one given; return their ids."""
    with transaction.atomic(using=alias):
        return {row.id for row in rows if _record_one(alias, row)}


def _record_one(alias: str, row: Row) -> bool:
    held = Job.objects.using(alias).filter(pk=row.id, claim=row.claim, state__in=states.HELD)
    if not row.followed:
        held = held.filter(followed=False)
    changes = {
        "state": row.state,
        "reason": row.reason,
        "last_error": row.last_error,
        "return_value": None if row.return_value is None else EncodedText(row.return_value),
        "failures": F("failures") + row.failures,
        "started_at": _from_now(None if row.started_ago is None else -row.started_ago),
        "finished_at": _from_now(None if row.finished_ago is None else -row.finished_ago),
        "prune_at": _from_now(row.keep if row.finished_ago is not None else None),
    }
    if row.progress is not None:
        changes["progress"] = EncodedText(row.progress)
    if row.delay is not None:
        changes["run_after"] = _from_now(row.delay)
    return bool(held.update(**changes))


def _from_now(seconds: float | None) -> models.Expression | None:
    return None if seconds is None else DbNow() + models.Value(timedelta(seconds=seconds))


def add_counts(alias: str, counts: Mapping[Cell, int]) -> None:
    """Add to counters, several workers at once; those that are not there begin with what is added."""
    rows = Counter.objects.using(alias)
    with transaction.atomic(using=alias):
        for cell in sorted(counts):  # in one order everywhere, lest two workers wait for each other in a circle
            if not rows.filter(**cell._asdict()).update(count=F("count") + counts[cell]):
                rows.bulk_create([Counter(**cell._asdict())], ignore_conflicts=True)
                rows.filter(**cell._asdict()).update(count=F("count") + counts[cell])
