"""Makes the jobs of schedules that are due: one for each (schedule, due moment), whoever looks first."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import IntegrityError, InterfaceError, OperationalError, models, transaction
from django.db.models import Case, F, Q, Value, When
from django.utils.translation import gettext as _

from .. import enqueue
from ..conf import jobs_settings, seconds
from ..exceptions import JobsError
from ..models import DbNow, Job, Schedule, ScheduleRun, database, db_now
from ..tasks import registry

logger = logging.getLogger("django_jobs.scheduler")

BATCH = 100  # schedules of one transaction


@dataclass(frozen=True, kw_only=True)
class Firing:
    """What becomes of one due schedule. ``due_at`` None: nothing is made, it is only planned anew."""

    schedule: Schedule
    due_at: datetime | None
    next_due_at: datetime | None
    note: str = ""  # not empty: it is disabled, and this is why


def fire() -> int:
    """Make the jobs of all schedules that are due; return how many."""
    fired, failed = 0, set()
    while due_schedules(failed).exists():  # without a transaction, which locks out others on SQLite
        firings, made = _fire_batch(failed)
        fired += made
        if len(firings) < BATCH:
            break
    return fired


def _fire_batch(failed: set[int]) -> tuple[Sequence[Firing], int]:
    """Fire a batch in one transaction; when one of them spoils it, each in its own."""
    alias, looked_at = database(), []
    try:
        with transaction.atomic(using=alias):
            looked_at = [firing(schedule, now) for schedule, now in _due(alias, failed)]
            return looked_at, _carry_out(alias, looked_at)
    except (OperationalError, InterfaceError):
        raise  # the database is away, not a schedule wrong
    except Exception:
        if not looked_at:
            raise
        return looked_at, sum(_fire_one(alias, one.schedule.pk, failed) for one in looked_at)


def _fire_one(alias: str, pk: int, failed: set[int]) -> int:
    try:
        with transaction.atomic(using=alias):
            looked_at = [firing(schedule, now) for schedule, now in _due(alias, set(), pk=pk)]
            return _carry_out(alias, looked_at)
    except (OperationalError, InterfaceError):
        raise
    except Exception as error:
        if not (isinstance(error, IntegrityError) and _skip_moment(alias, pk)):
            failed.add(pk)
            logger.exception("schedule %s could not make its job; it stays due", pk)
        return 0


def due_schedules(failed: Collection[int] = ()) -> models.QuerySet:
    """Return schedules that are due, or that nobody has planned: those of fixtures and bulk inserts."""
    due = Q(next_due_at__lte=DbNow()) | Q(next_due_at__isnull=True)
    return Schedule.objects.filter(due, enabled=True).exclude(pk__in=failed).order_by("next_due_at")


def _due(alias: str, failed: set[int], **only: int) -> list[tuple[Schedule, datetime]]:
    """Lock and return due schedules, with the time; rows that another worker has locked are left to it."""
    schedules = due_schedules(failed).filter(**only)
    locked = list(schedules.select_for_update(skip_locked=True)[:BATCH])
    if not locked:
        return []
    now = db_now()
    return [(schedule, now) for schedule in locked]


def firing(schedule: Schedule, now: datetime) -> Firing:
    """Say what becomes of a due schedule: after a pause it runs once, for the latest moment, and goes on."""
    try:
        due_at = _due_moment(schedule, now)
        next_due_at = schedule.moment_after(max(filter(None, (now, due_at, schedule.last_due_at))))
    except ValueError as error:
        return Firing(schedule=schedule, due_at=None, next_due_at=None, note=_invalid(schedule, error))
    note = "" if next_due_at else _("It ran at its only moment.") if schedule.once_at else _("Its time is over.")
    return Firing(schedule=schedule, due_at=due_at, next_due_at=next_due_at, note=note)


def _due_moment(schedule: Schedule, now: datetime) -> datetime | None:
    due = schedule.next_due_at
    if due is None:
        return None
    following = schedule.moment_after(due)
    if following is not None and following <= now:
        due = schedule.latest_moment(following, now)
    return due if schedule.last_due_at is None or due > schedule.last_due_at else None


def _invalid(schedule: Schedule, error: ValueError) -> str:
    logger.error("schedule %s (%s) is disabled: %s", schedule.pk, schedule.name, error)
    return _("Its rule is not valid: %(error)s") % {"error": error}


def _carry_out(alias: str, firings: Sequence[Firing]) -> int:
    """Advance the schedules, record the moments and save the jobs; return how many jobs."""
    if not firings:
        return 0
    due = [one for one in firings if one.due_at is not None]
    _advance(alias, firings)
    jobs = [job_of(one.schedule) for one in due]
    runs = [
        ScheduleRun(schedule=one.schedule, due_at=one.due_at, job=job.pk) for one, job in zip(due, jobs, strict=True)
    ]
    if due:
        ScheduleRun.objects.using(alias).bulk_create(runs)
        enqueue.save(jobs)
    return len(jobs)


def _advance(alias: str, firings: Sequence[Firing]) -> None:
    """Write what is due next, provided that every row still stands as it was read."""
    unchanged = Q(pk__in=[])
    for one in firings:
        unchanged |= Q(pk=one.schedule.pk, next_due_at=one.schedule.next_due_at)
    changed = (
        Schedule.objects.using(alias)
        .filter(unchanged, enabled=True)
        .update(
            next_due_at=_by_schedule(firings, "next_due_at", lambda one: one.next_due_at),
            last_due_at=_by_schedule(firings, "last_due_at", lambda one: one.due_at or one.schedule.last_due_at),
            last_run_at=_by_schedule(firings, "last_run_at", lambda one: DbNow() if one.due_at else F("last_run_at")),
            enabled=_by_schedule(firings, "enabled", lambda one: not one.note),
            note=_by_schedule(firings, "note", lambda one: one.note[:200]),
        )
    )
    if changed != len(firings):
        raise RuntimeError("schedules changed under the lock of their firing")


def _by_schedule(firings: Sequence[Firing], column: str, value) -> Case:
    field = Schedule._meta.get_field(column)
    cases = []
    for one in firings:
        then = value(one)
        if not hasattr(then, "resolve_expression"):
            then = Value(then, output_field=field)
        cases.append(When(pk=one.schedule.pk, then=then))
    return Case(*cases, default=F(column), output_field=field)


def _skip_moment(alias: str, pk: int) -> bool:
    """Plan a schedule anew if it has made the job of its due moment before; say whether it had."""
    with transaction.atomic(using=alias):
        for schedule, now in _due(alias, set(), pk=pk):
            one = firing(schedule, now)
            if not ScheduleRun.objects.using(alias).filter(schedule=schedule, due_at=one.due_at).exists():
                return False
            _advance(alias, [Firing(schedule=schedule, due_at=None, next_due_at=one.next_due_at, note=one.note)])
            logger.warning("schedule %s (%s) has made its job for %s before", pk, schedule.name, one.due_at)
    return True


def job_of(schedule: Schedule) -> Job:
    """Return a new job of the schedule, not saved, even when this process cannot check it.

    After a deploy another worker may know the task and its arguments; the one that takes the job will
    see, and gives it back or fails it with the cause.
    """
    try:
        return checked_job_of(schedule)
    except (JobsError, TypeError) as error:
        logger.warning("schedule %s (%s) makes its job unchecked: %s", schedule.pk, schedule.name, error)
        return _unchecked_job_of(schedule)


def checked_job_of(schedule: Schedule) -> Job:
    """Return a new job of the schedule, not saved; raise JobsError or TypeError for what is wrong with it."""
    options = {}
    if schedule.queue_name:
        options["queue_name"] = schedule.queue_name
    if schedule.priority is not None:
        options["priority"] = schedule.priority
    task = registry.get(schedule.task_path)
    job = (task.using(**options) if options else task).prepare(tuple(schedule.args), schedule.kwargs)
    job.schedule = schedule
    return job


def _unchecked_job_of(schedule: Schedule) -> Job:
    return Job.new(
        task_path=schedule.task_path,
        args=schedule.__dict__["args"],  # as it is stored: it may be what cannot be read
        kwargs=schedule.__dict__["kwargs"],
        queue_name=schedule.queue_name or Job._meta.get_field("queue_name").default,
        priority=schedule.priority or 0,
        timeout=seconds(jobs_settings.TIMEOUT),
        max_attempts=jobs_settings.MAX_ATTEMPTS,
        max_losses=jobs_settings.MAX_LOSSES,
        schedule_id=schedule.pk,
    )


def run_now(schedule: Schedule, *, by: str = "") -> Job:
    """Make a job of the schedule at once, besides those that are due; raise JobsError or TypeError."""
    job = checked_job_of(schedule)
    job.created_by = by[: Job._meta.get_field("created_by").max_length]
    with transaction.atomic(using=database()):
        enqueue.save([job])
        Schedule.objects.filter(pk=schedule.pk).update(last_run_at=DbNow())
    return job
