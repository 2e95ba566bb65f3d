"""Saves jobs in the caller's transaction and, after its commit, pushes their ids: the only way into Redis."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from itertools import islice
from uuid import UUID

from django.db import DatabaseError, connections, models, transaction

from . import broker, failpoints, moves, signals, states
from .broker import Waiting
from .middleware import wrapped
from .models import Job, Queue, database
from .moves import Moved

logger = logging.getLogger("django_jobs.enqueue")

INSERT_CHUNK = 1000  # rows of one INSERT
LOOK_BACK = 100  # callbacks; a transaction that has registered more since gets a second push
MOMENTS = ("run_after", "expires_at", "enqueued_at")  # what the database's clock may decide

_known_queues: set[tuple[str, str]] = set()
_warned: set[str] = set()


def save(jobs: Sequence[Job]) -> None:
    """Insert new jobs on the jobs' database, to be pushed when its transaction commits."""
    alias = database()
    warn_of_other_transaction(alias)
    ensure_queues(alias, {job.queue_name for job in jobs})
    with ExitStack() as stack:
        for job in jobs:
            stack.enter_context(wrapped("enqueue", job))
        insert(alias, jobs)
    failpoints.hit("after_insert")
    blocks = connections[alias].atomic_blocks
    for job in jobs:
        job._enqueued_in = blocks[0] if blocks else None
        signals.job_enqueued.send_robust(type(job), job=job)
    dispatch([Moved(job.pk, job.queue_name, job.priority) for job in jobs if job.state == states.QUEUED])


def insert(alias: str, jobs: Sequence[Job]) -> None:
    """Insert rows; moments that the database's clock decides are read back."""
    if len(jobs) == 1:
        jobs[0].save(force_insert=True, using=alias)
    else:
        Job.objects.using(alias).bulk_create(jobs, batch_size=INSERT_CHUNK)
    timed = {job.pk: job for job in jobs if any(_is_expression(getattr(job, name)) for name in MOMENTS)}
    for pks in _chunks(list(timed), INSERT_CHUNK):
        for row in Job.objects.using(alias).filter(pk__in=pks).values("pk", *MOMENTS):
            for name in MOMENTS:
                setattr(timed[row["pk"]], name, row[name])


def _is_expression(value: object) -> bool:
    return hasattr(value, "resolve_expression")


def _chunks(keys: list[UUID], size: int) -> Iterator[list[UUID]]:
    return (keys[start : start + size] for start in range(0, len(keys), size))


def dispatch(moved: Iterable[Moved], *, first: bool = False) -> None:
    """Push queued jobs when the current transaction on the jobs' database commits, or at once.

    ``first``: before all others of their lanes, for jobs that were taken and come back unharmed.
    """
    waiting = [Waiting(one.queue_name, -one.priority, one.id.hex) for one in moved]
    if not waiting or not broker.is_used():
        return
    connection = connections[database()]
    push = _push_at_this_commit(connection)
    if push and push.first == first:
        push.waiting += waiting  # one push for all jobs of a transaction
    else:
        transaction.on_commit(_Push(waiting, first), using=connection.alias)


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


def ensure_queues(alias: str, names: set[str]) -> None:
    """Make a row, after the commit, for each queue that this process has not seen before.

    Not in the transaction: another one that had just made the same row would keep us waiting for its end.
    """
    if any((alias, name) not in _known_queues for name in names):
        transaction.on_commit(partial(_make_queues, alias, names), using=alias)


def _make_queues(alias: str, names: set[str]) -> None:
    new = {(alias, name) for name in names} - _known_queues
    try:
        if new:
            rows = [Queue(name=name) for _, name in sorted(new)]
            Queue.objects.using(alias).bulk_create(rows, ignore_conflicts=True)
            _known_queues.update(new)
    except DatabaseError:  # the jobs are committed; the next one tries again
        logger.warning("no rows for the queues %s", ", ".join(sorted(names)), exc_info=True)


def warn_of_other_transaction(alias: str) -> None:
    """Warn once when the caller seems to believe that another database's transaction counts."""
    if connections[alias].in_atomic_block:
        return
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block and connection.alias not in _warned:
            _warned.add(connection.alias)
            logger.warning(
                'A job was enqueued inside atomic(using="%s"), but jobs live on "%s": it is saved and sent at once, '
                "even if that transaction rolls back.",
                connection.alias,
                alias,
            )


def retry(jobs: models.QuerySet | Job | UUID | str | Iterable[UUID]) -> int:
    """Queue finished jobs again, their history kept; return how many there were."""
    moved = moves.requeue(_queryset(jobs))
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
