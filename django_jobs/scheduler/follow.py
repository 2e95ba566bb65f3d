"""Queues the run of a schedule that has waited for the one before to end."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, QuerySet

from .. import enqueue, moves, states
from ..models import Job, database

MOST = 1000  # schedules of one look


def waiting_jobs() -> QuerySet:
    """Return the jobs that wait for the run before: of a schedule's, the only ones that are scheduled for no time."""
    waiting = Job.objects.filter(state=states.SCHEDULED, run_after__isnull=True, schedule__isnull=False)
    return waiting.order_by("run_after")  # by the index of what is scheduled


def follow() -> int:
    """Queue the first waiting job of each schedule of which none is going; return how many."""
    alias = database()
    going = Job.objects.using(alias).filter(schedule=OuterRef("schedule"), finished_at__isnull=True)
    going = going.exclude(state=states.SCHEDULED, run_after__isnull=True)
    free = waiting_jobs().using(alias).filter(~Exists(going)).order_by("schedule", "pk")
    first: dict[int, object] = {}
    for job, schedule in free.values_list("pk", "schedule")[: MOST * 10]:
        first.setdefault(schedule, job)
    if not first:
        return 0
    moved = moves.start_waiting(Job.objects.filter(pk__in=list(first.values())[:MOST], run_after__isnull=True))
    enqueue.dispatch(moved)
    return len(moved)
