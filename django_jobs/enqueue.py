"""Saves jobs in the caller's transaction and, after its commit, pushes their ids: the only way into Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from uuid import UUID

from django.db import DatabaseError, connections, models, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from . import broker, failpoints, moves, signals, states
from .broker import Waiting
from .conf import jobs_settings
from .middleware import wrapped
from .models import Attempt, EncodedText, Job, JobLabel, Queue, database, db_now
from .models.label import rows_of
from .moves import Moved
from .plain import plain
from .sql import statements

logger = logging.getLogger("django_jobs.enqueue")

INSERT_CHUNK = 1000  # rows of one INSERT
LOOK_BACK = 100  # callbacks; a transaction that has registered more since gets a second push

_known_queues: set[tuple[str, str]] = set()
_warned: set[str] = set()


def save(jobs: Sequence[Job], *, middleware: bool = True) -> None:
    """Insert new jobs on the jobs' database, to be pushed when its transaction commits."""
    connection = connections[database()]
    warn_of_other_transaction(connection)
    ensure_queues(connection, {job.queue_name for job in jobs})
    if middleware and jobs_settings.MIDDLEWARE:
        insert_wrapped(connection.alias, jobs)
    else:
        insert(connection.alias, jobs)
    failpoints.hit("after_insert")
    block = connection.atomic_blocks[0] if connection.atomic_blocks else None
    for job in jobs:
        job._enqueued_in = block
        signals.job_enqueued.send_robust(Job, job=job)
    push(connection, [Waiting(job.queue_name, -job.priority, job.id.hex) for job in jobs if job.state == states.QUEUED])


def insert_wrapped(alias: str, jobs: Sequence[Job]) -> None:
    """Insert rows inside the middleware of all of them, which may still change them."""
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(wrapped("enqueue", job))
        insert(alias, jobs)


def insert(alias: str, jobs: Sequence[Job]) -> None:
    """Insert rows and their labels, all or none; a timedelta is counted from the database's clock."""
    if any(isinstance(job.run_after, timedelta) or isinstance(job.expires_at, timedelta) for job in jobs):
        _resolve_moments(jobs, db_now())
    labels = rows_of(jobs)
    if len(jobs) <= INSERT_CHUNK and not labels:
        statements(alias).insert(alias, jobs)
        return
    with transaction.atomic(using=alias):
        for start in range(0, len(jobs), INSERT_CHUNK):
            statements(alias).insert(alias, jobs[start : start + INSERT_CHUNK])
        if labels:
            JobLabel.objects.using(alias).bulk_create(labels)


def _resolve_moments(jobs: Sequence[Job], now: datetime) -> None:
    for job in jobs:
        job.enqueued_at = now
        if isinstance(job.run_after, timedelta):
            job.run_after += now
        if isinstance(job.expires_at, timedelta):
            job.expires_at += now


def dispatch(moved: Iterable[Moved], *, first: bool = False) -> None:
    """Push queued jobs when the current transaction on the jobs' database commits, or at once.

    ``first``: before all others of their lanes, for jobs that were taken and come back unharmed.
    """
    waiting = [Waiting(one.queue_name, -one.priority, one.id.hex) for one in moved]
    push(connections[database()], waiting, first=first)


def push(connection: BaseDatabaseWrapper, waiting: list[Waiting], *, first: bool = False) -> None:
    """Do as ``dispatch``, for what waits."""
    if not waiting or not broker.is_used():
        return
    registered = _push_at_this_commit(connection)
    if registered and registered.first == first:
        registered.waiting += waiting  # one push for all jobs of a transaction
    else:
        connection.on_commit(_Push(waiting, first))


class _Push:
    """What is pushed after a commit; a rolled back savepoint takes its own along."""

    def __init__(self, waiting: list[Waiting], first: bool):
        self.waiting = waiting
        self.first = first

    def __call__(self) -> None:
        failpoints.hit("before_push")
        broker.try_push(self.waiting, first=self.first)
        failpoints.hit("after_push")


def _push_at_this_commit(connection) -> _Push | None:
    """Return the push that was registered last, if it lives and dies with the present savepoint."""
    if not connection.in_atomic_block:
        return None
    for savepoints, callback, *_ in islice(reversed(connection.run_on_commit), LOOK_BACK):
        if isinstance(callback, _Push):
            return callback if savepoints == set(connection.savepoint_ids) else None
    return None


def ensure_queues(connection: BaseDatabaseWrapper, names: set[str]) -> None:
    """Make a row, after the commit, for each queue that this process has not seen before.

    Not in the transaction: another one that had just made the same row would keep us waiting for its end.
    """
    if any((connection.alias, name) not in _known_queues for name in names):
        connection.on_commit(partial(_make_queues, connection.alias, names))


def _make_queues(alias: str, names: set[str]) -> None:
    new = {(alias, name) for name in names} - _known_queues
    try:
        if new:
            rows = [Queue(name=name) for _, name in sorted(new)]
            Queue.objects.using(alias).bulk_create(rows, ignore_conflicts=True)
            _known_queues.update(new)
    except DatabaseError:  # the jobs are committed; the next one tries again
        logger.warning("no rows for the queues %s", ", ".join(map(plain, sorted(names))), exc_info=True)


def warn_of_other_transaction(ours: BaseDatabaseWrapper) -> None:
    """Warn once when the caller seems to believe that another database's transaction counts."""
    if ours.in_atomic_block or len(connections.settings) == 1:
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block and connection.alias not in _warned:
            _warned.add(connection.alias)
            logger.warning(
                'A job was enqueued inside atomic(using="%s"), but jobs live on "%s": it is saved and sent at once, '
                "even if that transaction rolls back.",
                connection.alias,
                ours.alias,
            )


def retry(jobs: models.QuerySet | Job | UUID | str | Iterable[UUID]) -> int:
    """Queue finished jobs again, their history kept; return how many there were.

    Jobs that were cancelled because the one that they follow did not succeed come back with that one's success.
    """
    moved = moves.requeue(_queryset(jobs).exclude(reason=moves.ABANDONED))
    dispatch(moved)
    return len(moved)


def retry_with(job: Job, args: EncodedText, kwargs: EncodedText) -> int:
    """Queue a failed job again with other arguments; its attempts keep those that they were made with.

    Returns 0 for a job that is not failed any more.
    """
    with transaction.atomic(using=database()):
        failed = Job.objects.filter(pk=job.pk, state=states.FAILED)
        before = failed.select_for_update().values_list("args", "kwargs").first()
        moved = moves.requeue(failed, args=args, kwargs=kwargs)
        if moved:
            attempts = Attempt.objects.filter(job=job.pk, args__isnull=True)
            attempts.update(**dict(zip(("args", "kwargs"), before, strict=True)))
        dispatch(moved)
    return len(moved)


def cancel(jobs: models.QuerySet | Job | UUID | str | Iterable[UUID], *, reason: str = "cancelled") -> int:
    """Cancel jobs: waiting ones at once, running ones within about a second; return how many."""
    jobs = _queryset(jobs)
    return len(moves.cancel(jobs, reason=reason)) + moves.request_cancel(jobs)


def _queryset(jobs: models.QuerySet | Job | UUID | str | Iterable[UUID]) -> models.QuerySet:
    match jobs:
        case models.QuerySet():
            return jobs
        case Job():
            return Job.objects.filter(pk=jobs.pk)
        case UUID() | str():
            return Job.objects.filter(pk=jobs)
    return Job.objects.filter(pk__in=list(jobs))
