"""Makes the jobs of schedules: at their moments, and by hand."""

from __future__ import annotations

import logging
import random
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F

from .. import enqueue, states
from ..conf import jobs_settings, seconds
from ..exceptions import JobsError
from ..models import DbNow, Job, Schedule, ScheduleRun, database, db_now
from ..plain import plain
from ..tasks import registry

logger = logging.getLogger("django_jobs.scheduler")

_TICK = timedelta.resolution


def job_of(schedule: Schedule, due_at: datetime | None = None, *, now: datetime | None = None) -> Job:
    """Return a new job of the schedule, not saved, even when this process cannot check it.

    After a deploy another worker may know the task and its arguments; the one that takes the job will
    see, and gives it back or fails it with the cause. With a due moment its start is put off by chance, up
    to the schedule's jitter.
    """
    run_after = _put_off(schedule, due_at, now)
    try:
        return checked_job_of(schedule, run_after)
    except (JobsError, TypeError) as error:
        name, reason = plain(schedule.name), plain(str(error))
        logger.warning("schedule %s (%s) makes its job unchecked: %s", schedule.pk, name, reason)
        return _unchecked_job_of(schedule, run_after)


def checked_job_of(schedule: Schedule, run_after: datetime | None = None) -> Job:
    """Return a new job of the schedule, not saved; raise JobsError or TypeError for what is wrong with it."""
    options = {"run_after": run_after}
    if schedule.queue_name:
        options["queue_name"] = schedule.queue_name
    if schedule.priority is not None:
        options["priority"] = schedule.priority
    job = registry.get(schedule.task_path).using(**options).prepare(tuple(schedule.args), schedule.kwargs)
    job.schedule = schedule
    return job


def hold(job: Job) -> Job:
    """Let a new job wait until the one before has ended; see ``follow``."""
    job.state, job.run_after, job.expires_at = states.SCHEDULED, None, None
    return job


def _put_off(schedule: Schedule, due_at: datetime | None, now: datetime | None) -> datetime | None:
    if not schedule.jitter or due_at is None:
        return None
    moment = due_at + random.random() * schedule.jitter
    return moment if now is None or moment > now else None


def _unchecked_job_of(schedule: Schedule, run_after: datetime | None) -> Job:
    return Job.new(
        task_path=schedule.task_path,
        args=schedule.__dict__["args"],  # as it is stored: it may be what cannot be read
        kwargs=schedule.__dict__["kwargs"],
        queue_name=schedule.queue_name or Job._meta.get_field("queue_name").default,
        priority=schedule.priority or 0,
        state=states.SCHEDULED if run_after else states.QUEUED,
        run_after=run_after,
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
        stored = Schedule.objects.select_for_update().get(pk=schedule.pk)
        due_at = _free_moment(stored)
        ScheduleRun(schedule=stored, due_at=due_at, kind=ScheduleRun.Kind.BY_HAND, job=job.pk).save(using=database())
        enqueue.save([job])
        Schedule.objects.filter(pk=stored.pk).update(last_run_at=DbNow(), updated_at=F("updated_at"))
    return job


def _free_moment(schedule: Schedule) -> datetime:
    """Return the present moment, or one just after it that is neither due by the rule nor taken."""
    moment = db_now()
    while moment == schedule.next_due_at or ScheduleRun.objects.filter(schedule=schedule, due_at=moment).exists():
        moment += _TICK
    return moment
