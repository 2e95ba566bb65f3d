"""What happened to a job: the steps of its life, and each attempt that did not succeed with its own error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import CharField, OuterRef, Subquery, Value
from django.db.models.functions import Cast, Concat
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import states
from ..models import Attempt, Job, Traceback, Worker
from ..tasks.calls import call_text
from . import frames, words

MOST_ATTEMPTS = 30  # the last ones, of a job that is tried for ever


@dataclass(frozen=True, kw_only=True)
class Step:
    """One event in the life of a job."""

    title: Any
    when: SafeString | str
    kind: str = ""
    details: tuple[Any, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Try:
    """One attempt that did not succeed, as it is shown."""

    attempt: Attempt
    parts: list[frames.Part]  # none: the text cannot be taken apart
    text: str  # of the traceback, as it was written
    same_as: int | None  # the number of the later attempt that failed at the same place
    call: str  # as it was then, if the arguments were changed since
    where: str

    @property
    def error(self) -> str:
        """The exception's class and message in one sentence."""
        one = self.attempt
        return ": ".join(filter(None, (one.exception_class, one.message)))

    @property
    def has_own(self) -> bool:
        return any(part.kind == frames.OWN for part in self.parts)


@dataclass(frozen=True, kw_only=True)
class Story:
    """The attempts of one job, oldest first."""

    job: Job
    tries: list[Try]
    where: str  # it runs, or was run last

    @property
    def earlier(self) -> int:
        """How many attempts are not shown."""
        return self.tries[0].attempt.number - 1 if len(self.tries) == MOST_ATTEMPTS else 0

    @property
    def last(self) -> Try | None:
        return self.tries[-1] if self.tries else None

    def steps(self, now: datetime) -> Iterator[Step]:
        """Yield what became of the job after its creation."""
        job, tries = self.job, self.tries
        if job.run_after and job.run_after > job.enqueued_at and not tries:
            yield Step(title=_("Due"), when=words.moment(job.run_after, now))
        elif first := self._first_start:
            since = max(filter(None, (job.enqueued_at, job.run_after if not tries else None)))
            yield Step(title=_("Waited"), when=words.took(first - since), details=(_in_queue(job),))
        for one in tries:
            is_end = one is self.last and job.state == states.FAILED
            yield _step_of(one, now, job.reason if is_end else "")
        if job.run_after and job.state == states.RETRYING:
            yield Step(title=_("Next attempt"), when=words.moment(job.run_after, now))
        if job.state in (states.RUNNING, states.SUCCEEDED) and job.claimed_at:
            title = gettext("Attempt %(number)s started") % {"number": job.attempt}
            when = words.moment(job.started_at or job.claimed_at, now)
            yield Step(title=title, when=when, details=(self.where,))
        if job.is_finished and not (tries and job.state == states.FAILED):  # the last attempt was the end
            took = words.took(job.duration) if job.state == states.SUCCEEDED else ""
            title = job.get_state_display().capitalize()
            yield Step(title=title, when=words.moment(job.finished_at, now), kind=job.state, details=(took, job.reason))

    @property
    def _first_start(self) -> datetime | None:
        """When a body of the job was first started, as far as that is still known."""
        if self.tries:
            return self.tries[0].attempt.started_at if self.tries[0].attempt.number == 1 else None
        return self.job.started_at or self.job.claimed_at if self.job.attempt == 1 else None


def story_of(job: Job) -> Story:
    """Return the story of a job that was read with the name of its worker, see ``worker_name``."""
    attempts = Attempt.objects.filter(job=job.pk).annotate(worker_name=worker_name())
    last = list(attempts.order_by("-number")[:MOST_ATTEMPTS])[::-1]
    return Story(job=job, tries=list(_tries(job, last)), where=where(job))


def worker_name() -> Subquery:
    """Return the expression for the name of a row's worker; NULL when that one is gone."""
    name = Concat("host", Value(":"), Cast("pid", CharField()), output_field=CharField())
    return Subquery(Worker.objects.filter(pk=OuterRef("worker")).values(name=name))


def where(row: Job | Attempt) -> str:
    """Return the name of a row's worker, or its id when that is all that is known of it."""
    return row.worker_name or str(row.worker or "")


def _tries(job: Job, attempts: list[Attempt]) -> Iterator[Try]:
    keys = {attempt.fingerprint for attempt in attempts if attempt.fingerprint}
    texts = dict(Traceback.objects.filter(pk__in=keys).values_list("pk", "text")) if keys else {}
    last = {attempt.fingerprint: attempt.number for attempt in attempts}
    for attempt in attempts:
        text, later = texts.get(attempt.fingerprint, ""), last[attempt.fingerprint]
        is_shown = later == attempt.number  # once is enough, with the attempt that comes first on the page
        yield Try(
            attempt=attempt,
            parts=frames.parts(text) if is_shown else [],
            text=text if is_shown else "",
            same_as=later if text and not is_shown else None,
            call=_call_then(job, attempt),
            where=where(attempt),
        )


def _call_then(job: Job, attempt: Attempt) -> str:
    """Return the call of an attempt whose arguments are not the job's any more."""
    args, kwargs = attempt.__dict__["args"], attempt.__dict__["kwargs"]  # not decoded: they may be damaged
    if args is None:
        return ""
    return call_text(Job.new(task_path=job.task_path, args=args, kwargs=kwargs))


def _step_of(one: Try, now: datetime, reason: str) -> Step:
    attempt = one.attempt
    length = attempt.finished_at - attempt.started_at if attempt.started_at else None
    took = gettext("after %(length)s") % {"length": words.took(length)} if length else ""
    return Step(
        title=gettext("Attempt %(number)s: %(kind)s") % {"number": attempt.number, "kind": attempt.get_kind_display()},
        when=words.moment(attempt.finished_at, now),
        kind=attempt.kind,
        details=(took, one.where, reason),
    )


def _in_queue(job: Job) -> str:
    return gettext("in the queue %(name)s") % {"name": job.queue_name}
