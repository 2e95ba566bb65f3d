"""Judges from the real state whether work that is due is being done; for the command line and the admin alike."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import Error as DatabaseAway
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext

from . import backlog, broker, states
from .models import DbNow, Job, Queue, Schedule, Worker, database, db_now
from .scheduler.rescue import present
from .worker.report import duration

NEWEST = 1000  # jobs looked at: enough to see whether a queue moves
LATE = timedelta(seconds=60)  # a job that is due for so long while nobody takes it is a problem
GONE_LATELY = timedelta(minutes=10)  # for so long the end of a worker is news
MANY_FAILURES = 10  # fewer within FAILING_MINUTES are never called unusual
FAILING_MINUTES = 10
UNUSUAL = 5  # times the usual


@dataclass(frozen=True, kw_only=True)
class Problem:
    """What is wrong, as a sentence; what is known of it; and what to type against it, if that helps."""

    what: str
    details: str = ""
    command: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, [self.what, self.details, self.command]))


def problems() -> list[Problem]:
    """Return what keeps due work from being done; an empty list is health."""
    try:
        now = db_now()
        return [*queue_problems(now, alive_workers(now)), *redis_problems()]
    except DatabaseAway as error:
        return [Problem(what=gettext('The database "%s" does not answer: %s') % (database(), error))]


def alive_workers(now: datetime) -> list[Worker]:
    return list(Worker.objects.filter(present(), alive_until__gt=now))


def serves(worker: Worker, queue: str) -> bool:
    """Say whether a worker takes jobs of a queue; one that is to be quiet or to stop takes none."""
    return not worker.wish and (not worker.queues or queue in worker.queues)


# Queues


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What waits in a queue: since when the oldest job does, and how many there are, where that is known."""

    queue: str
    oldest: datetime
    count: int = 0
    counted: str = ""  # in words


def queue_problems(now: datetime, workers: Collection[Worker]) -> Iterator[Problem]:
    paused = {queue.name: queue for queue in Queue.objects.filter(paused_at__isnull=False)}
    for name in backlog.queues_with_work():
        oldest = backlog.claimable_of(name).order_by("pk").values_list("enqueued_at", flat=True).first()
        if oldest is None:
            continue
        if name in paused:
            yield paused_problem(paused[name], now)
        else:
            yield from queue_problem(Waiting(queue=name, oldest=oldest), now, workers, lambda: is_moving(name, now))  # noqa: B023  called at once


def queue_problem(
    waiting: Waiting, now: datetime, workers: Collection[Worker], is_moving: Callable[[], bool]
) -> Iterator[Problem]:
    """Say what keeps the jobs of a queue that is not paused from being started, if anything does."""
    length = now - waiting.oldest
    told = {"queue": waiting.queue, "waits": duration(max(0.0, length.total_seconds())), "count": waiting.counted}
    if not any(serves(worker, waiting.queue) for worker in workers):
        details = gettext("Its oldest job waits for %(waits)s. Start one:")
        if waiting.count:
            details = ngettext(
                "%(count)s job waits, for %(waits)s. Start one:",
                "%(count)s jobs wait, the oldest for %(waits)s. Start one:",
                waiting.count,
            )
        yield Problem(
            what=gettext('No worker listens to "%(queue)s".') % told,
            details=details % told,
            command=f"manage.py runworker --queues {waiting.queue}",
        )
    elif length > LATE and not is_moving():
        told["late"] = duration(LATE.total_seconds())
        yield Problem(
            what=gettext('Nothing of "%(queue)s" has been started for %(late)s.') % told,
            details=gettext("A job is due for %(waits)s. Its workers may be busy with long jobs, or hang.") % told,
        )


def is_moving(queue: str, now: datetime) -> bool:
    """Say whether a worker holds a job of the queue, or one of the newest jobs was claimed lately."""
    if Job.objects.filter(state=states.RUNNING, queue_name=queue).exists():
        return True
    newest = Job.objects.order_by("-pk").values_list("queue_name", "claimed_at")[:NEWEST]
    return any(name == queue and claimed_at and now - claimed_at < LATE for name, claimed_at in newest)


def paused_problem(queue: Queue, now: datetime) -> Problem:
    """Say by whom, since when and why a queue is paused."""
    by = gettext(" by %s") % queue.paused_by if queue.paused_by else ""
    since = localtime(queue.paused_at).strftime("%Y-%m-%d %H:%M")
    length = duration(max(0.0, (now - queue.paused_at).total_seconds()))
    told = {"queue": queue.name, "since": since, "by": by, "length": length}
    return Problem(
        what=gettext('Queue "%(queue)s" is paused since %(since)s%(by)s (%(length)s).') % told, details=queue.reason
    )


# Redis


def redis_problems(away_for: float | None = None) -> Iterator[Problem]:
    """Say that Redis is away; ``away_for``: for how many seconds, by the word of a worker."""
    trouble = broker.trouble()
    if trouble:
        where = broker.address_of_jobs()
        since = gettext(" (for %s)") % duration(away_for) if away_for else ""
        what = gettext("Redis at %(where)s does not answer%(since)s: %(error)s.")
        if trouble.refuses:
            what = gettext("Redis at %(where)s refuses what is written%(since)s: %(error)s.")
        yield Problem(
            what=what % {"where": where, "since": since, "error": trouble.error},
            details=gettext("Workers go on from the database, more slowly."),
        )
    elif away_for:
        yield Problem(
            what=gettext("A worker has not reached Redis for %s.") % duration(away_for),
            details=gettext("It goes on from the database, more slowly."),
        )


# Workers, failures, schedules, tasks


def absences(*, of_workers: bool) -> Iterator[Problem]:
    """Say that Redis is away and, if that is asked, that no worker is alive."""
    yield from redis_problems()
    if of_workers and not Worker.objects.filter(present(), alive_until__gt=DbNow()).exists():
        details = gettext("What waits goes on waiting. Start one:")
        yield Problem(what=gettext("No worker is alive."), details=details, command="manage.py runworker")


def gone_problem(worker: Worker, now: datetime, jobs: Collection[str], others: bool) -> Problem | None:
    """Say that a worker is gone, and when its jobs start again."""
    if worker.stopped_at or (worker.lost_at is None and worker.alive_until >= now):
        return None
    if worker.lost_at and now - worker.lost_at > GONE_LATELY:
        return None
    if worker.lost_at:
        details = gettext("What it ran was given back to the queues.")
    elif not others:
        details = gettext("No other worker is alive to give back what it ran. Start one:")
    elif jobs:
        details = gettext("What it ran starts again within seconds: %s") % ", ".join(jobs)
    else:
        details = gettext("It ran nothing.")
    length = duration((now - worker.beat_at).total_seconds())
    what = gettext("Worker %(worker)s is gone: no heartbeat for %(length)s.") % {"worker": worker, "length": length}
    return Problem(what=what, details=details, command="" if others or worker.lost_at else "manage.py runworker")


def failing_problem(lately: int, usually: float) -> Problem | None:
    """Say that far more attempts fail than do usually, both within FAILING_MINUTES."""
    if lately < MANY_FAILURES or lately < UNUSUAL * usually:
        return None
    told = {"count": lately, "minutes": FAILING_MINUTES, "usually": f"{usually:.1f}"}
    return Problem(
        what=gettext("%(count)s attempts failed in the last %(minutes)s minutes.") % told,
        details=gettext("Usually it is %(usually)s.") % told,
    )


def missed_problem(schedule: Schedule, now: datetime) -> Problem | None:
    """Say that a schedule should have made a job and has not."""
    if not schedule.next_due_at or now - schedule.next_due_at < LATE:
        return None
    length = duration((now - schedule.next_due_at).total_seconds())
    return Problem(
        what=gettext('The schedule "%(name)s" is late by %(length)s.') % {"name": schedule.name, "length": length},
        details=gettext("No worker with the scheduler seems to be alive. Start one:"),
        command="manage.py runworker",
    )


def given_back_problem(task_path: str, count: int, reason: str) -> Problem:
    """Say that workers give back jobs because they do not know their task, or not with such arguments."""
    what = ngettext(
        "Workers gave back %(count)s job of %(task)s.", "Workers gave back %(count)s jobs of %(task)s.", count
    )
    told = {"count": count, "task": task_path}
    details = gettext("%s It is tried again; start workers that have this code.") % f"{reason.rstrip('.')}."
    return Problem(what=what % told, details=details)
