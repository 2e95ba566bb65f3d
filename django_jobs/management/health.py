"""Says why a job is not running."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError

from .. import states
from ..health import alive_workers, redis_problems, serves
from ..models import Job, Queue, Worker, db_now
from ..tasks.calls import known_task
from ..worker.report import duration


def explanation(id: UUID) -> dict[str, Any]:
    """Return a job's state and the reasons why it is not running."""
    job = Job.objects.filter(pk=id).first()
    if job is None:
        raise CommandError(f"no job has the id {id}; it was never committed, or it is deleted.", returncode=2)
    return {"job": str(job), "state": job.state, "because": reasons(job) or ["nothing keeps it; it is about to start"]}


def reasons(job: Job) -> list[str]:
    match job.state:
        case states.RUNNING:
            return running_reasons(job)
        case states.SCHEDULED | states.RETRYING:
            return waiting_reasons(job, db_now())
        case states.QUEUED:
            return queued_reasons(job, db_now())
    ended = f"it has ended: {job.state}{f' ({job.reason})' if job.reason else ''}"
    return [ended, *([job.last_error] if job.last_error else [])]


def running_reasons(job: Job) -> list[str]:
    worker = Worker.objects.filter(pk=job.worker).first()
    return [f"it runs on {worker or job.worker}, attempt {job.attempt}"]


def waiting_reasons(job: Job, now: datetime) -> list[str]:
    if job.run_after is None:
        if job.schedule_id:
            return ["it waits for the run before it, of the same schedule, to end"]
        before = Job.objects.filter(pk=job.parent).first()
        return [f"it follows {before}, which is {before.state}" if before else "the job that it follows is gone"]
    left = (job.run_after - now).total_seconds()
    when = f"in {duration(left)}" if left > 0 else "now; a worker queues it within a second"
    found = [f"it is due at {job.run_after:%Y-%m-%d %H:%M:%S %Z}, {when}"]
    if job.state == states.RETRYING:
        found.append(f"attempt {job.attempt} failed: {job.last_error}")
    elif job.reason:
        found.append(f"a worker gave it back: {job.reason}")
    return found + common_reasons(job, now)


def queued_reasons(job: Job, now: datetime) -> list[str]:
    queue = Job.objects.filter(state=states.QUEUED, queue_name=job.queue_name)
    ahead = queue.filter(priority__gte=job.priority, pk__lt=job.pk)[:1000].count()
    found = [f"{'at least ' if ahead == 1000 else ''}{ahead} jobs of its queue stand before it"] if ahead else []
    if job.losses:
        found.append(f"{job.losses} workers died with it, so it waits to be run alone")
    elif job.suspected:
        found.append("a process died while it and others ran there, so it waits to be run alone")
    return found + common_reasons(job, now)


def common_reasons(job: Job, now: datetime) -> list[str]:
    found = []
    paused = Queue.objects.filter(pk=job.queue_name, paused_at__isnull=False).first()
    if paused:
        by = f" by {paused.paused_by}" if paused.paused_by else ""
        why = f": {paused.reason}" if paused.reason else ""
        found.append(f'queue "{job.queue_name}" is paused since {paused.paused_at:%Y-%m-%d %H:%M}{by}{why}')
    if not any(serves(worker, job.queue_name) for worker in alive_workers(now)):
        found.append(f'no worker that is alive listens to "{job.queue_name}"')
    if known_task(job.task_path) is None:
        found.append(f"the task {job.task_path} is not known here")
    return [*found, *map(str, redis_problems())]
