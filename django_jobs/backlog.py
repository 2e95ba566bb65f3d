"""The backlog, by the rows alone: what waits, what is due, and in which order. Nothing here moves a job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import connections, models, transaction
from django.db.models import Q

from . import states
from .models import DbNow, Job, Queue, database

NO_STATE = ""  # see by_key
BLAMED = Q(losses__gt=0) | Q(suspected=True)
NOW = timedelta(0)  # from now


def waiting(queues: Sequence[str], limit: int, with_blamed: bool = True) -> list[UUID]:
    """Return ids of queued jobs by the rows alone: queue after queue, the most urgent first, locked ones left out.

    ``with_blamed``: also those with which a process has died before.
    """
    ids: list[UUID] = []
    among = Q() if with_blamed else ~BLAMED
    if not connections[database()].features.has_select_for_update_skip_locked:
        for queue in unpaused(queues):
            ids += claimable_of(queue).filter(among).values_list("pk", flat=True)[: limit - len(ids)]
        return ids
    with transaction.atomic(using=database()):
        for queue in unpaused(queues):
            unlocked = claimable_of(queue).filter(among).select_for_update(skip_locked=True)
            ids += unlocked.values_list("pk", flat=True)[: limit - len(ids)]
    return ids


def unpaused(queues: Iterable[str]) -> list[str]:
    """Return those of the queues that are not paused; asked first, lest every row of a paused one is looked at."""
    paused = set(Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True))
    return [queue for queue in queues if queue not in paused]


def queued() -> models.QuerySet:
    """Return what waits for a worker, in the order of its index."""
    return Job.objects.filter(state=states.QUEUED).order_by("queue_name", "-priority", "pk")


def due(ahead: timedelta = NOW) -> models.QuerySet:
    """Return scheduled and retrying jobs whose time has come, or will by then, those that wait longest first."""
    return Job.objects.filter(state__in=states.PROMOTE.sources, run_after__lte=DbNow() + ahead).order_by("run_after")


def late(ahead: timedelta = NOW) -> models.QuerySet:
    """Return jobs that should have started before now, or will be late by then."""
    waiting = Job.objects.filter(state__in=states.EXPIRE.sources, finished_at__isnull=True)
    return waiting.filter(expires_at__lte=DbNow() + ahead).order_by("expires_at")


def queues_with_work() -> Iterator[str]:
    """Yield the names of queues that have queued jobs, each found by the index."""
    names = Job.objects.filter(state=states.QUEUED).order_by("queue_name").values_list("queue_name", flat=True)
    name = names.first()
    while name is not None:
        yield name
        name = names.filter(queue_name__gt=name).first()


def claimable_of(queue: str) -> models.QuerySet:
    """Return a queue's queued jobs that are due and not expired, in the order in which they are claimed."""
    return (
        Job.objects.filter(state=states.QUEUED, queue_name=queue)
        .filter(Q(run_after__isnull=True) | Q(run_after__lte=DbNow()))
        .filter(Q(expires_at__isnull=True) | Q(expires_at__gt=DbNow()))
        .order_by("-priority", "pk")
    )


def is_work_due(queues: Sequence[str]) -> bool:
    """Say whether any job of these queues could be run now. No queues: of any."""
    expired = Q(expires_at__isnull=False, expires_at__lte=DbNow())
    promoted = due().exclude(expired)
    if queues:
        promoted = promoted.filter(queue_name__in=unpaused(queues))
    return has_any(promoted) or any(has_any(claimable_of(queue)) for queue in unpaused(queues or queues_with_work()))


def has_any(jobs: models.QuerySet) -> bool:
    """Do as ``exists()``, but keep the order, which makes the database use its index."""
    return bool(jobs.values_list("pk", flat=True)[:1])


def is_work_waiting(queues: Sequence[str]) -> bool:
    """Say whether a job could be claimed at once: due, and locked by nobody. No queues: of any."""
    if not has_any(queued().filter(queue_name__in=queues) if queues else queued()):
        return False  # as it mostly is: one statement
    with transaction.atomic(using=database()):
        for queue in unpaused(queues or queues_with_work()):
            if has_any(claimable_of(queue).select_for_update(skip_locked=True)):
                return True
    return False


def lost_before(ids: Sequence[UUID]) -> list[UUID]:
    """Return those of the ids that wait to be claimed alone."""
    waiting = Job.objects.filter(BLAMED, pk__in=ids, state__in=by_key(states.QUEUED))
    return list(waiting.values_list("pk", flat=True))


def by_key(*sources: str) -> tuple[str, ...]:
    """Return states to look for in rows that are named by their keys, and one that no row has.

    Asked for one state alone, PostgreSQL may take the index of that state, since few rows have it. But as
    long as somebody holds an old snapshot, that index also leads to all the rows that had it meanwhile.
    """
    return (*sources, NO_STATE)
