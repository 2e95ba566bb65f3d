"""Enqueues what is to follow a job's end, in the transaction that records it: its followers, its task's callbacks."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from uuid import UUID

from django.db import transaction
from django.db.models import Q

from . import enqueue, failpoints, moves, states
from .exceptions import InvalidTask, JobsError, TaskNotFound
from .models import Job, database
from .moves import Held, Moved, Outcome
from .tasks import Call, Task, registry

logger = logging.getLogger("django_jobs.worker")

_CALLBACKS = {states.SUCCEED: "on_success", states.FAIL: "on_failure", states.RETRY: "on_retry"}


def follow(job: Job, call: Call) -> Job:
    """Save a job that starts when the given one has succeeded; see ``Job.then``."""
    if not isinstance(call, Call) or call.task is None:
        raise TypeError(f"then() takes what task.s(...) returns, such as send.s(1); not {type(call).__name__}.")
    if call.task.run_after is not None:
        raise InvalidTask(f"{call.task.name}: a job that follows another cannot have a run_after of its own.")
    follower = call.task.prepare(call.args, call.kwargs, after=job)
    with transaction.atomic(using=database()):
        if not moves.note_followed(job.pk):
            raise Job.DoesNotExist(f"job {job.pk} ({job.name}) is deleted or not committed: nothing can follow it.")
        enqueue.save([follower])
        if Job.objects.filter(pk=job.pk, state__in=states.FINAL).exists():
            enqueue.dispatch(moves.settle_followers([job.pk]))
            follower.refresh()
    job.followed = True
    return follower


def record(outcomes: Sequence[Outcome]) -> set[UUID]:
    """Write outcomes, as ``moves.record`` does, and enqueue with them what is to follow."""
    if not any(outcome.job.followed or outcome.callback for outcome in outcomes):
        return moves.record(outcomes)
    with transaction.atomic(using=database()):
        recorded = moves.record(outcomes)
        failpoints.hit("before_follow")
        ours = [outcome for outcome in outcomes if outcome.job.id in recorded]
        enqueue.dispatch(moves.settle_followers(outcome.job.id for outcome in ours if outcome.job.followed))
        _enqueue_callbacks((outcome.callback, outcome.job) for outcome in ours if outcome.callback)
    return recorded


def lose(held: Iterable[Held], *, cause: str, among: Q | None = None) -> list[Moved]:
    """Give jobs back whose worker died, as ``moves.lose`` does; what has lost too many fails as any other job does."""
    with transaction.atomic(using=database()):
        return moves.lose(held, cause=cause, among=among, buried=_enqueue_callbacks_of_buried)


def callback_of(task: Task | None, transition: states.Transition) -> Task | None:
    """Return the task that is to be enqueued when a job of the task makes the transition."""
    return getattr(task, _CALLBACKS.get(transition, ""), None)


def _enqueue_callbacks_of_buried(moved: list[Moved]) -> None:
    jobs = Job.objects.filter(pk__in=[one.id for one in moved]) if moved else ()
    _enqueue_callbacks((callback_of(_known(job.task_path), states.FAIL), job) for job in jobs)


def _known(path: str) -> Task | None:
    try:
        return registry.get(path)
    except TaskNotFound:
        return None


def _enqueue_callbacks(callbacks: Iterable[tuple[Task | None, Job]]) -> None:
    """Save a job for each callback, in the context of the job it is about.

    The middleware, which is of users, stays outside: an outcome must not depend on it.
    """
    jobs = [new for callback, job in callbacks if callback and (new := _callback_job(callback, job))]
    if jobs:
        enqueue.save(jobs, middleware=False)


def _callback_job(callback: Task, job: Job) -> Job | None:
    try:
        new = callback.prepare((str(job.pk),), {})
    except (JobsError, TypeError):
        logger.exception("%s cannot be enqueued about job %s", callback.name, job.pk)
        return None
    new.parent, new.context = job.pk, job.__dict__["context"]  # as it is stored
    return new
