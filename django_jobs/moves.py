"""Moves jobs from state to state: each verb one guarded UPDATE, and nothing else writes ``state``."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import Error, InterfaceError, OperationalError, models, transaction
from django.db.models import F, Q, Value
from django.db.models.functions import Coalesce, Concat, Replace, Right

from . import backlog, codec, states
from .conf import jobs_settings
from .models import Attempt, DbNow, EncodedText, Job, JobLabel, Traceback, database
from .models.job import LOG_LENGTH
from .sql import statements
from .sql.outcome import Row

logger = logging.getLogger("django_jobs.worker")

CHUNK = 1000  # rows locked by one statement
LOCKED = ("id", "queue_name", "priority", "attempt", "worker", "started_at", "claimed_at", "followed")
ABANDONED = "the job that it follows did not succeed"
ORPHANED = "the job that it follows is gone"
RESULT = codec.dumps(codec.RESULT)
NEVER_LOST = Q(max_losses=0)


class Held(NamedTuple):
    """A job as its worker knows it: the id, and the claim that makes it ours."""

    id: UUID
    claim: int


class Moved(NamedTuple):
    """A job that a verb has moved: what a push needs to know."""

    id: UUID
    queue_name: str
    priority: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """What is kept of a body that did not return: a row of Attempt."""

    kind: str
    exception_class: str = ""
    message: str = ""
    fingerprint: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What an attempt came to. Times are of the monotonic clock, in seconds."""

    transition: states.Transition
    job: Job
    started: float
    finished: float
    return_value: str | None = None  # encoded
    progress: str | None = None  # encoded
    log: str | None = None  # lines since the last write
    reason: str = ""
    last_error: str = ""
    delay: float | None = None  # seconds until the next attempt
    failure: Failure | None = None
    callback: Any = None  # the task to be enqueued with the outcome; see ``following``
    keep: float | None = None  # seconds; None: for ever; 0: delete with the outcome


def claim(ids: Sequence[UUID], *, worker: UUID, slot: int, alone: bool = False) -> list[Job]:
    """Claim what is still to be had of the ids and return it, in the order of the ids.

    Jobs with which a process has died before are claimed only ``alone``, lest they take others with them again.
    """
    if not ids:
        return []
    jobs = statements(database()).claim(database(), ids, worker, slot, alone)
    place = {id: index for index, id in enumerate(ids)}
    return sorted(jobs, key=lambda job: place[job.id])


def record(outcomes: Sequence[Outcome]) -> set[UUID]:
    """Write outcomes, with their attempts, in one transaction; return the ids of those still ours."""
    alias, now = database(), time.monotonic()
    rows = [_row(outcome, now) for outcome in outcomes]
    if not any(outcome.failure or outcome.log or outcome.keep == 0 for outcome in outcomes):
        return statements(alias).record(alias, rows)
    with transaction.atomic(using=alias):
        recorded = statements(alias).record(alias, rows)
        kept = [outcome for outcome in outcomes if outcome.job.id in recorded]
        _add_attempts(alias, kept, now)
        _write_logs(alias, kept)
        _cancel_asked_for([outcome.job.id for outcome in kept if outcome.transition is states.RETRY])
        _delete_unkept(alias, kept)
    return recorded


def _row(outcome: Outcome, now: float) -> Row:
    final = outcome.transition.target in states.FINAL
    return Row(
        id=outcome.job.id,
        claim=outcome.job.claim,
        state=outcome.transition.target,
        reason=outcome.reason,
        last_error=outcome.last_error,
        return_value=outcome.return_value,
        progress=outcome.progress,
        failures=int(outcome.transition in (states.RETRY, states.FAIL)),
        delay=outcome.delay,
        started_ago=now - outcome.started,
        finished_ago=now - outcome.finished if final else None,
        keep=outcome.keep,
        followed=outcome.job.followed,
    )


def _add_attempts(alias: str, outcomes: Iterable[Outcome], now: float) -> None:
    failed = [outcome for outcome in outcomes if outcome.failure]
    attempts = [
        Attempt(
            job_id=outcome.job.id,
            number=outcome.job.attempt,
            kind=outcome.failure.kind,
            worker=outcome.job.worker,
            started_at=DbNow() - timedelta(seconds=now - outcome.started),
            finished_at=DbNow() - timedelta(seconds=now - outcome.finished),
            exception_class=outcome.failure.exception_class,
            message=outcome.failure.message,
            fingerprint=outcome.failure.fingerprint,
        )
        for outcome in failed
    ]
    texts = {outcome.failure.fingerprint: outcome.failure.traceback for outcome in failed if outcome.failure.traceback}
    tracebacks = [Traceback(fingerprint=key, text=text) for key, text in sorted(texts.items())]
    Traceback.objects.using(alias).bulk_create(tracebacks, ignore_conflicts=True)
    Attempt.objects.using(alias).bulk_create(attempts, ignore_conflicts=True)  # a rescue may have been first


def _delete_unkept(alias: str, outcomes: Iterable[Outcome]) -> None:
    """Delete what is not to be kept; a job that others follow is left to the pruning, for they are settled first."""
    unkept = [one for one in outcomes if one.keep == 0 and not one.job.followed]
    final = [one.job.id for one in unkept if one.transition.target in states.FINAL]
    if final:
        erase(alias, final)


def erase(alias: str, ids: Sequence[UUID]) -> None:
    """Delete the rows of jobs, with all that is theirs; in a transaction, where nobody else can be at them."""
    for model in (Attempt, JobLabel):
        model.objects.using(alias).filter(job__in=ids)._raw_delete(alias)
    Job.objects.using(alias).filter(pk__in=ids)._raw_delete(alias)


def note_started(held: Iterable[tuple[Held, float]]) -> None:
    """Write when long bodies really started, given in seconds ago."""
    for one, seconds_ago in held:
        _update_unlocked(one, started_at=DbNow() - timedelta(seconds=seconds_ago))


def cancel_requested(held: Iterable[Held]) -> list[Held]:
    """Return those of the running jobs that somebody wants stopped."""
    held = set(held)
    if not held:
        return []
    jobs = Job.objects.filter(pk__in=[one.id for one in held], cancel_requested_at__isnull=False)
    jobs = jobs.filter(state__in=backlog.by_key(states.RUNNING))
    return [one for row in jobs.values_list("pk", "claim") if (one := Held(*row)) in held]


def note_told(one: Held, progress: str | None, log: str | None) -> bool:
    """Write how far a running body says it has come, and what it has logged since; None: nothing new."""
    changes: dict[str, Any] = {} if progress is None else {"progress": EncodedText(progress)}
    return _update_unlocked(one, **changes | _log_column(log))


def _log_column(log: str | None) -> dict[str, Any]:
    if log is None:
        return {}
    text = models.TextField()
    before = Coalesce("log", Value(""), output_field=text)
    return {"log": Right(Concat(before, Value(log), output_field=text), LOG_LENGTH)}


def _write_logs(alias: str, outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        if outcome.log is not None:
            Job.objects.using(alias).filter(pk=outcome.job.id).update(**_log_column(outcome.log))


def _update_unlocked(one: Held, **changes: Any) -> bool:
    """Write what is nice to know of a running job; a row that somebody has locked is not waited for."""
    with transaction.atomic(using=database()):
        job = Job.objects.filter(pk=one.id, claim=one.claim, state__in=backlog.by_key(states.RUNNING))
        unlocked = job.select_for_update(skip_locked=True).values_list("pk").first()
        return bool(unlocked) and bool(job.update(**changes))


def held_by(worker: UUID, slot: int) -> list[Held]:
    """Return what the database says that a child of a worker is running."""
    return [one for one, its_slot in held_by_slot(worker) if its_slot == slot]


def held_by_slot(worker: UUID) -> list[tuple[Held, int]]:
    """Return what the database says that a worker is running, each with the number of its child."""
    rows = Job.objects.filter(worker=worker, state=states.RUNNING).values_list("pk", "claim", "slot")
    return [(Held(id, claim), slot) for id, claim, slot in rows]


def lock_held(job: Job) -> bool:
    """Lock a job's row, waiting for whoever has it locked, and say whether its claim is still ours.

    ``followed`` is brought up to date.
    """
    rows = Job.objects.filter(pk=job.pk, claim=job.claim, state__in=states.HELD).select_for_update()
    found = list(rows.values_list("followed", flat=True))
    job.followed = any(found)
    return bool(found)


def still_held(jobs: Iterable[Job]) -> set[UUID]:
    """Return the ids of those jobs whose claim is still ours: their rows were locked, or followed meanwhile.

    ``followed`` is brought up to date.
    """
    known = {job.pk: job for job in jobs}
    rows = Job.objects.filter(pk__in=known, state__in=states.HELD).values_list("pk", "claim", "followed")
    ours = {id: followed for id, claim, followed in rows if known[id].claim == claim}
    for id, followed in ours.items():
        known[id].followed = followed
    return set(ours)


def is_refusal(error: BaseException) -> bool:
    """Say whether the database refuses what it was asked; else it is away, busy, full or a standby: later it may do."""
    invalid_transaction_state = "25"  # class of SQLSTATE; 25006: read only, as a standby is after a failover
    state = getattr(error.__cause__, "sqlstate", None) or ""
    away = isinstance(error, OperationalError | InterfaceError) or state.startswith(invalid_transaction_state)
    return isinstance(error, Error) and not away


def piecewise(move: Callable[[list[Held]], list[Moved]], held: Iterable[Held]) -> list[Moved]:
    """Make a move for all but those that the database refuses, found by halving; they stay as they were."""
    held = list(held)
    try:
        return move(held) if held else []
    except Error as error:
        if not is_refusal(error):
            raise
        if len(held) > 1:
            half = len(held) // 2
            return piecewise(move, held[:half]) + piecewise(move, held[half:])
        logger.error("the database refuses to move job %s; it is tried again", held[0].id, exc_info=True)
        return []


def release(held: Iterable[Held], *, started: bool = False, cause: str = "") -> list[Moved]:
    """Give jobs back. A body that never started leaves no trace; one that did was interrupted, by a cause."""
    changes: dict[str, Any] = {"worker": None, "slot": None}
    if not started:
        return _move_held(states.RELEASE, held, **changes, attempt=F("attempt") - 1)
    return _move_held(states.RELEASE, held, _interrupted(cause), **changes, interruptions=F("interruptions") + 1)


def postpone(held: Iterable[Held], *, seconds: float, reason: str) -> list[Moved]:
    """Give jobs back that this worker cannot run; they are due again after a pause."""
    return _move_held(
        states.POSTPONE,
        held,
        worker=None,
        slot=None,
        attempt=F("attempt") - 1,
        run_after=DbNow() + timedelta(seconds=seconds),
        reason=reason[:200],
        interruptions=F("interruptions") + 1,
    )


def suspect(held: Iterable[Held], *, cause: str) -> list[Moved]:
    """Give jobs back that ran together in a process that died: nobody knows which of them it was, and none is blamed.

    Each runs alone next, so that it is known then. What may be lost not even once (NEVER_LOST) is left as it is.
    """
    return _move_held(
        states.RELEASE,
        held,
        _interrupted(cause),
        where=~NEVER_LOST,
        worker=None,
        slot=None,
        interruptions=F("interruptions") + 1,
        suspected=True,
    )


def lose(
    held: Iterable[Held],
    *,
    cause: str,
    among: Q | None = None,
    buried: Callable[[list[Moved]], None] = lambda moved: None,
) -> list[Moved]:
    """Give jobs back whose worker died in their body; those that lost too many workers fail.

    Returns the ones that are to run again. ``buried`` is called with the others. ``among``: others stay as they are.
    """
    held, among = list(held), among or Q()
    changes = {"losses": F("losses") + 1, "last_error": cause[:500], "worker": None, "slot": None}
    again = Q(losses__lt=F("max_losses"))
    buried(
        _move_held(
            states.BURY,
            held,
            _lost(cause),
            where=~again & among,
            **changes | final_columns(states.FAILED),
            reason="worker died",
        )
    )
    return _move_held(states.LOSE, held, _lost(cause), where=again & among, **changes)


def promote(limit: int = CHUNK) -> list[Moved]:
    """Queue scheduled and retrying jobs whose time has come, those that wait longest first."""
    later = F("claim") + 1  # an old outcome must not count twice
    return _move(states.PROMOTE, backlog.due(), limit=limit, claim=later)


def start_waiting(jobs: models.QuerySet) -> list[Moved]:
    """Queue those scheduled jobs that waited for another one, which has ended."""
    return _move(states.PROMOTE, jobs, claim=F("claim") + 1)


def expire(limit: int = CHUNK) -> list[Moved]:
    """Cancel jobs that should have started before now."""
    return _move(states.EXPIRE, backlog.late(), limit=limit, reason="expired", **final_columns(states.CANCELLED))


def cancel(jobs: models.QuerySet, *, reason: str = "cancelled") -> list[Moved]:
    """Cancel waiting jobs. Running ones go on; see ``request_cancel``."""
    return _move(states.CANCEL, jobs, reason=reason[:200], **final_columns(states.CANCELLED))


def request_cancel(jobs: models.QuerySet) -> int:
    """Ask the workers of running jobs to stop their bodies; return how many were asked."""
    return jobs.filter(state=states.RUNNING, cancel_requested_at__isnull=True).update(cancel_requested_at=DbNow())


def requeue(jobs: models.QuerySet, **changes: Any) -> list[Moved]:
    """Queue finished jobs again, their history kept and their failures forgiven."""
    return _move(
        states.REQUEUE,
        jobs,
        **changes,
        claim=F("claim") + 1,  # an outcome sent twice must not end it again
        reason="",
        last_error="",
        failures=0,
        losses=0,
        interruptions=0,
        suspected=False,
        return_value=None,
        progress=None,
        run_after=None,
        expires_at=None,
        started_at=None,
        finished_at=None,
        cancel_requested_at=None,
        prune_at=None,
        worker=None,
        slot=None,
    )


def note_followed(id: UUID) -> bool:
    """Say on a job that others wait for its end; return whether there is such a job."""
    return bool(Job.objects.filter(pk=id).update(followed=True))


def waiting_followers() -> models.QuerySet:
    """Return the jobs that wait for the end of another, not for a time."""
    return Job.objects.filter(state=states.SCHEDULED, run_after__isnull=True, parent__isnull=False)


def settle_followers(ids: Iterable[UUID]) -> list[Moved]:
    """Queue those who follow a job that has succeeded, cancel those who follow one that cannot; return the queued ones.

    A follower that was cancelled for that reason is queued as well: a person has retried the job before it.
    """
    gone, queued = set(ids), []
    if not gone:
        return queued
    with transaction.atomic(using=database()):
        for id, state, value in Job.objects.filter(pk__in=gone).values_list("pk", "state", "return_value"):
            gone.discard(id)
            match state:
                case states.SUCCEEDED:
                    queued += _queue_followers(id, value)
                case states.FAILED | states.CANCELLED:
                    _abandon_followers([id])
        _abandon_followers(list(gone), ORPHANED)
    return queued


def _queue_followers(id: UUID, value: EncodedText | None) -> list[Moved]:
    result = Value("null" if value is None else str(value), models.TextField())
    place = Value(RESULT, models.TextField())
    arguments = {name: Replace(F(name), place, result, output_field=models.TextField()) for name in ("args", "kwargs")}
    abandoned = Job.objects.filter(parent=id, state=states.CANCELLED, reason=ABANDONED)
    return [
        *_move(states.PROMOTE, waiting_followers().filter(parent=id), claim=F("claim") + 1, **arguments),
        *requeue(abandoned, **arguments),
    ]


def _abandon_followers(ids: Sequence[UUID], reason: str = ABANDONED) -> None:
    """Cancel those who follow the jobs, those who follow them, and so on."""
    while ids:
        followers = waiting_followers().filter(parent__in=ids)
        cancelled = final_columns(states.CANCELLED)
        ids, reason = [one.id for one in _move_rows(states.CANCEL, followers, reason=reason, **cancelled)], ABANDONED


def final_columns(state: str) -> dict[str, Any]:
    """Return the columns that every move to a final state sets."""
    keep = jobs_settings.retention[state]
    return {
        "finished_at": DbNow(),
        "prune_at": None if keep is None else DbNow() + timedelta(seconds=keep),
    }


def _move_held(
    transition: states.Transition,
    held: Iterable[Held],
    attempts: Callable[[Job], Attempt] | None = None,
    where: Q | None = None,
    **changes: Any,
) -> list[Moved]:
    """Move those jobs whose claim is still the one given."""
    by_claim = defaultdict(list)
    for one in held:
        by_claim[one.claim].append(one.id)
    moved: list[Moved] = []
    with transaction.atomic(using=database()):
        for claim, ids in by_claim.items():
            jobs = Job.objects.filter(where or Q(), pk__in=ids, claim=claim)
            moved += _move(transition, jobs, attempts, **changes)
        cancelled = _cancel_asked_for([one.id for one in moved])
    return [one for one in moved if one.id not in cancelled]


def _cancel_asked_for(ids: Sequence[UUID]) -> set[UUID]:
    """Cancel those of the waiting jobs that somebody wanted stopped while they ran; return their ids."""
    if not ids:
        return set()
    asked = Job.objects.filter(pk__in=ids, cancel_requested_at__isnull=False)
    return {one.id for one in cancel(asked, reason="cancelled while running")}


def _move(
    transition: states.Transition,
    jobs: models.QuerySet,
    attempts: Callable[[Job], Attempt] | None = None,
    *,
    limit: int | None = None,
    **changes: Any,
) -> list[Moved]:
    """Lock those of the jobs that may make the transition, and make it.

    Rows that somebody else has locked are left out: they are moving already, or will be looked at again.
    """
    with transaction.atomic(using=database()):
        moved = _move_rows(transition, jobs, attempts, limit=limit, **changes)
        if transition.target in (states.FAILED, states.CANCELLED):
            _abandon_followers([job.pk for job in moved if job.followed])
    return [Moved(job.pk, job.queue_name, job.priority) for job in moved]


def _move_rows(
    transition: states.Transition,
    jobs: models.QuerySet,
    attempts: Callable[[Job], Attempt] | None = None,
    *,
    limit: int | None = None,
    **changes: Any,
) -> list[Job]:
    alias = database()
    sources = backlog.by_key(*transition.sources) if transition.fenced else transition.sources
    movable = jobs.using(alias).filter(state__in=sources).select_for_update(skip_locked=True)
    with transaction.atomic(using=alias):
        locked = list(movable.only(*LOCKED)[:limit])
        if not locked:
            return []
        by_keys = Job.objects.using(alias).filter(pk__in=[job.pk for job in locked])
        by_keys.filter(state__in=backlog.by_key(*transition.sources)).update(state=transition.target, **changes)
        if attempts:
            Attempt.objects.using(alias).bulk_create(map(attempts, locked), ignore_conflicts=True)
    return locked


def _lost(cause: str) -> Callable[[Job], Attempt]:
    return lambda job: _unfinished(job, Attempt.Kind.LOST, cause)


def _interrupted(cause: str) -> Callable[[Job], Attempt]:
    return lambda job: _unfinished(job, Attempt.Kind.INTERRUPTED, cause)


def _unfinished(job: Job, kind: str, message: str) -> Attempt:
    return Attempt(
        job_id=job.pk,
        number=job.attempt,
        kind=kind,
        worker=job.worker,
        started_at=job.started_at or job.claimed_at,
        message=message,
    )
