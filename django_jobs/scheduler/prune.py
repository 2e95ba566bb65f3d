"""Deletes what is kept no longer: finished jobs, old runs of schedules, workers long gone."""

from __future__ import annotations

from datetime import timedelta

from django.db import models, transaction
from django.db.models import Exists, OuterRef, Q, Subquery

from .. import moves, states
from ..models import Attempt, DbNow, Job, Schedule, ScheduleRun, Traceback, Worker, database, db_now

CHUNK = 1000  # rows of one transaction
MAX_CHUNKS = 10  # of one look, so that the other chores have their turn
KEEP_RUNS = timedelta(days=30)
LAST_RUNS = 10  # of each schedule, kept however old they are
KEEP_WORKERS = timedelta(days=1)
KEEP_TRACEBACKS = timedelta(days=1)  # from their first attempt, which may not be committed yet


def prune() -> int:
    """Delete finished jobs whose time to be kept is over, with their attempts; return how many."""
    deleted = 0
    for state in states.FINAL:
        over = Job.objects.filter(state=state, finished_at__isnull=False, prune_at__lte=DbNow())
        for _chunk in range(MAX_CHUNKS if over.exists() else 0):
            count = prune_jobs(over.order_by("prune_at"))
            deleted += count
            if count < CHUNK:
                break
    return deleted


def prune_jobs(jobs: models.QuerySet) -> int:
    """Delete a chunk of those of the jobs that are finished, with their attempts; return how many.

    Rows that somebody else has locked are left out.
    """
    alias = database()
    finished = jobs.using(alias).filter(state__in=states.FINAL, finished_at__isnull=False)
    with transaction.atomic(using=alias):
        ids = list(finished.select_for_update(skip_locked=True).values_list("pk", flat=True)[:CHUNK])
        if ids:
            moves.erase(alias, ids)
    return len(ids)


def tidy() -> int:
    """Delete old runs of schedules, workers that are gone, and tracebacks that nobody refers to."""
    return prune_runs() + prune_workers() + prune_tracebacks()


def prune_runs() -> int:
    """Delete runs older than KEEP_RUNS, but the last ones of each schedule; return how many."""
    alias, before = database(), db_now() - KEEP_RUNS
    return sum(
        _delete_chunk(alias, ScheduleRun.objects.filter(schedule=pk, due_at__lt=min(before, kept_from)))
        for pk, kept_from in _schedules_with_old_runs(before)
    )


def _schedules_with_old_runs(before) -> models.QuerySet:
    """Return the schedules that have runs to delete, and from when on theirs are kept."""
    runs = ScheduleRun.objects.filter(schedule=OuterRef("pk"))
    oldest = Subquery(runs.order_by("due_at").values("due_at")[:1])
    kept_from = Subquery(runs.order_by("-due_at").values("due_at")[LAST_RUNS - 1 : LAST_RUNS])
    schedules = Schedule.objects.annotate(oldest=oldest, kept_from=kept_from)
    old = schedules.filter(oldest__lt=before, kept_from__gt=models.F("oldest"))
    return old.values_list("pk", "kept_from")[: MAX_CHUNKS * 10]


def prune_workers() -> int:
    """Delete workers that ended over a day ago; one that still seems to run a job waits for the rescue."""
    ended = Q(stopped_at__isnull=False) | Q(lost_at__isnull=False)
    holds = Exists(Job.objects.filter(worker=OuterRef("pk"), state=states.RUNNING))
    return _delete_chunk(database(), Worker.objects.filter(ended, ~holds, beat_at__lt=DbNow() - KEEP_WORKERS))


def prune_tracebacks() -> int:
    """Delete texts that no attempt refers to any more; return how many."""
    referred = Exists(Attempt.objects.filter(fingerprint=OuterRef("pk")))
    return _delete_chunk(database(), Traceback.objects.filter(~referred, created_at__lt=DbNow() - KEEP_TRACEBACKS))


def _delete_chunk(alias: str, rows: models.QuerySet) -> int:
    keys = list(rows.using(alias).values_list("pk", flat=True)[:CHUNK])
    return rows.model.objects.using(alias).filter(pk__in=keys)._raw_delete(alias) if keys else 0
