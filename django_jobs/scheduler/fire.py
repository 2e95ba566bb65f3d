"""Makes the jobs of schedules that are due: one for each (schedule, due moment), whoever looks first.

What is due is read and decided on without a lock, so that a worker which is stopped in the middle keeps
nobody else from it. Then, in one transaction, those rows are locked that still stand as they were read; a
unique (schedule, due moment) guards the rest.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import chain

from django.db import IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Count, Q, QuerySet
from django.db.models.functions import Coalesce

from .. import enqueue, failpoints
from ..backlog import NOW
from ..models import DbNow, Job, Schedule, ScheduleRun, database, db_now
from ..models.schedule import Overlap
from ..plain import plain
from ..sql.schedules import advance
from .firing import DUE, Firing, Planned, firing, planned
from .produce import hold, job_of

logger = logging.getLogger("django_jobs.scheduler")

BATCH = 250  # schedules of one transaction
BATCHES = 8  # of one look, so that the other chores have their turn
due_at = Coalesce("next_due_at", DbNow())
ADVANCED = ("next_due_at", "last_due_at", "last_run_at", "run_count", "enabled", "note")


def fire() -> int:
    """Make the jobs of all schedules that are due; return how many."""
    fired, seen = 0, set()
    for _ in range(BATCHES):
        due = _due(~Q(pk__in=seen))
        seen |= {schedule.pk for schedule in due}
        fired += _fire_batch(due) if due else 0
        if len(due) < BATCH:
            break
    return fired


def due_schedules(ahead: timedelta = NOW) -> QuerySet:
    """Return schedules that are due, or will be by then, or that nobody has planned: of fixtures and bulk inserts."""
    due = Q(next_due_at__lte=DbNow() + ahead) | Q(next_due_at__isnull=True)
    return Schedule.objects.using(database()).filter(due, enabled=True).order_by("next_due_at")


def _due(among: Q) -> list[Schedule]:
    return list(due_schedules().filter(among).annotate(now=DbNow())[:BATCH])


def _fire_batch(due: Sequence[Schedule]) -> int:
    """Fire a batch in one transaction; when one of them spoils it, each in its own."""
    firings = [firing(schedule, schedule.now) for schedule in due]
    failpoints.hit("schedules_computed")
    try:
        return _carry_out(firings)
    except (OperationalError, InterfaceError):
        raise  # the database is away, not a schedule wrong
    except Exception:
        return sum(_fire_one(schedule.pk) for schedule in due)


def _fire_one(pk: int) -> int:
    firings = [firing(schedule, schedule.now) for schedule in _due(Q(pk=pk))]
    try:
        return _carry_out(firings)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if not (isinstance(error, IntegrityError) and all(map(_skip_moments, firings))):
            logger.exception("schedule %s could not make its job; it stays due", pk)
        return 0


def _carry_out(firings: Sequence[Firing]) -> int:
    """Advance those schedules that stand as they were read, record their moments, save their jobs; return how many."""
    alias = database()
    with transaction.atomic(using=alias):
        firings = _still_standing(alias, firings)
        unfinished = _unfinished(alias, firings)
        plans = [planned(one, unfinished.get(one.schedule.pk, 0)) for one in firings]
        _advance(alias, firings, plans)
        return _make(alias, list(chain.from_iterable(plans)))


def _still_standing(alias: str, firings: Sequence[Firing]) -> list[Firing]:
    """Lock the schedules, and return the firings of those that nobody has fired or edited meanwhile."""
    rows = Schedule.objects.using(alias).filter(pk__in=[one.schedule.pk for one in firings])
    standing = {row.pk: row for row in rows.order_by("pk").select_for_update(skip_locked=True)}
    return [one for one in firings if _is_same(one.schedule, standing.get(one.schedule.pk))]


def _is_same(read: Schedule, row: Schedule | None) -> bool:
    columns = [field.attname for field in Schedule._meta.concrete_fields]
    return row is not None and all(read.__dict__[name] == row.__dict__[name] for name in columns)


def _unfinished(alias: str, firings: Sequence[Firing]) -> dict[int, int]:
    """Return how many jobs are still going, of each schedule that wants to know."""
    asking = [one.schedule.pk for one in firings if one.schedule.overlap != Overlap.RUN and one.moments]
    if not asking:
        return {}
    going = Job.objects.using(alias).filter(schedule__in=asking, finished_at__isnull=True)
    return dict(going.order_by().values_list("schedule").annotate(Count("pk")))


def _advance(alias: str, firings: Sequence[Firing], plans: Sequence[Sequence[Planned]]) -> None:
    """Write what is due next."""
    changed = []
    for one, plan in zip(firings, plans, strict=True):
        schedule, made = one.schedule, sum(each.kind == DUE for each in plan)
        schedule.next_due_at, schedule.last_due_at = one.next_due_at, one.last_due_at
        schedule.run_count += made
        if made:
            schedule.last_run_at = schedule.now
        if one.note:
            schedule.enabled, schedule.note = False, one.note[:200]
        changed.append(schedule)
    if changed:
        advance(alias, changed, ADVANCED)


def _make(alias: str, plan: Sequence[Planned]) -> int:
    """Record the moments and save the jobs; return how many jobs."""
    jobs, runs = [], []
    for one in plan:
        job = _job(one) if one.kind == DUE else None
        jobs += [job] if job else []
        runs.append(ScheduleRun(schedule=one.schedule, due_at=one.due_at, kind=one.kind, job=job.pk if job else None))
    ScheduleRun.objects.using(alias).bulk_create(runs)
    if jobs:
        enqueue.save(jobs)
    return len(jobs)


def _job(one: Planned) -> Job:
    job = job_of(one.schedule, one.due_at, now=one.schedule.now)
    return hold(job) if one.waits else job


def _skip_moments(one: Firing) -> bool:
    """Plan a schedule anew if its due moments have made their jobs before; say whether they had."""
    pk = one.schedule.pk
    with transaction.atomic(using=database()):
        row = Schedule.objects.select_for_update().filter(pk=pk, enabled=True).first()
        if row is None:
            return True  # deleted or disabled meanwhile
        taken = ScheduleRun.objects.filter(schedule=pk, due_at__in=_moments(one)).order_by("-due_at").first()
        if taken is None:
            return False
        row.now = db_now()
        last = max(filter(None, (taken.due_at, row.last_due_at)))
        again = firing(row, row.now)
        _advance(database(), [Firing(schedule=row, missed=last, next_due_at=again.next_due_at, note=again.note)], [[]])
        logger.warning("schedule %s (%s) has made its job for %s before", pk, plain(row.name), taken.due_at)
    return True


def _moments(one: Firing) -> list[datetime]:
    return [*one.moments, *filter(None, [one.missed])]
