"""Says from the real state whether work that is due is being done, and why a job is not running."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.core.management.base import CommandError
from django.db import Error as DatabaseAway

from .. import broker, moves, states
from ..broker import AWAY
from ..models import Job, Queue, Worker, database, db_now
from ..scheduler.rescue import present
from ..tasks import registry
from ..worker.report import duration

NEWEST = 1000  # jobs looked at: enough to see whether a queue moves
LATE = timedelta(seconds=60)  # a job that is due for so long while nobody takes it is a problem


def problems() -> list[str]:
    """Return what keeps due work from being done, in words; an empty list is health."""
    try:
        now = db_now()
        workers = alive_workers(now)
    except DatabaseAway as error:
        return [f'the database "{database()}" does not answer: {error}']
    return [*queue_problems(now, workers), *redis_problems()]


def alive_workers(now: datetime) -> list[Worker]:
    return list(Worker.objects.filter(present(), alive_until__gt=now))


def serves(worker: Worker, queue: str) -> bool:
    return not worker.queues or queue in worker.queues


def queue_problems(now: datetime, workers: list[Worker]) -> list[str]:
    found = []
    for queue in moves.queues_with_work():
        oldest = moves.claimable_of(queue).order_by("pk").values_list("enqueued_at", flat=True).first()
        if oldest is None:
            continue
        waits = duration((now - oldest).total_seconds())
        if not any(serves(worker, queue) for worker in workers):
            found.append(
                f'no worker listens to "{queue}"; its oldest job waits for {waits}. '
                f"Start one: manage.py runworker --queues {queue}"
            )
        elif now - oldest > LATE and not is_moving(queue, now):
            found.append(
                f'nothing of "{queue}" has been started for {duration(LATE.total_seconds())}; a job is due for {waits}'
            )
    return found


def is_moving(queue: str, now: datetime) -> bool:
    """Say whether a worker holds a job of the queue, or one of the newest jobs was claimed lately."""
    if Job.objects.filter(state=states.RUNNING, queue_name=queue).exists():
        return True
    newest = Job.objects.order_by("-pk").values_list("queue_name", "claimed_at")[:NEWEST]
    return any(name == queue and claimed_at and now - claimed_at < LATE for name, claimed_at in newest)


def redis_problems() -> list[str]:
    if not broker.is_used():
        return []
    try:
        connected = broker.for_worker()
        connected.client.ping()
        connected.close()
    except AWAY as error:
        return [f"Redis at {broker.address_of_jobs()} does not answer: {error}; workers go on from the database"]
    return []


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
    if job.task_path not in registry.all_tasks():
        found.append(f"the task {job.task_path} is not known here")
    return found + redis_problems()
