"""Which jobs somebody means, by state, queue, task, error and id: kept as plain values, so that it can be sent on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.db.models import Value
from django.db.models.functions import Concat

from . import states
from .models import Attempt, database
from .models.label import newest_labelled

NEWEST_LABELLED = 10_000  # jobs of one label
NEWEST_ATTEMPTS = 10_000  # among which errors are searched, and jobs that were tried more than once


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Jobs that fulfil all that is said; nothing said means all of them."""

    states: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()
    tasks: tuple[tuple[str, ...], ...] = ()  # paths; any one of each group
    fingerprints: tuple[str, ...] = ()  # of the error that ended a job which is failed now
    errors: tuple[str, ...] = ()  # texts in the error of any attempt
    ids: tuple[UUID, ...] = ()
    labels: tuple[str, ...] = ()  # the newest jobs with each
    tried_again: bool = False  # needed more than one attempt
    ended_by: datetime | None = None
    last_attempt: int | None = field(default=None, compare=False)  # key of the newest that counts; None: all

    def __and__(self, other: Selection) -> Selection:
        """Return what both of them mean."""
        both = {
            name: getattr(self, name) + value if isinstance(value, tuple) else value
            for name, value in other.said().items()
        }
        return replace(self, **both)

    def said(self) -> dict[str, Any]:
        """Return what is said, by name: arguments of a job that makes the same selection by ``Selection.of``."""
        return {one.name: value for one in fields(self) if (value := getattr(self, one.name)) not in ((), None, False)}

    @classmethod
    def of(cls, **said: Any) -> Selection:
        """Return the selection again, from what JSON has made of ``said``."""
        return cls(**{name: _tuples(value) for name, value in said.items()})

    def failed(self) -> Selection:
        return self if states.FAILED in self.states else self & Selection(states=(states.FAILED,))

    @property
    def has_no_index(self) -> bool:
        """Whether rows must be read one by one to see if they are meant."""
        return bool(self.queues or self.tasks) and not (self.is_recent or self.ids or self.fingerprints or self.labels)

    @property
    def is_recent(self) -> bool:
        """Whether only jobs of the newest attempts are meant."""
        return bool(self.errors or self.tried_again)

    def narrow(self, jobs: models.QuerySet) -> models.QuerySet:
        """Return those of the jobs that are meant."""
        for state in self.states:
            jobs = jobs.filter(in_state(state))
        for name in self.queues:
            jobs = jobs.filter(queue_name=name)
        for paths in self.tasks:
            jobs = jobs.filter(task_path__in=paths)
        for fingerprint in self.fingerprints:
            jobs = jobs.filter(in_state(states.FAILED), models.Exists(_last_attempt(fingerprint)))
        for text in self.errors:
            jobs = jobs.filter(pk__in=self._with_error(text).values("job"))
        if self.ids:
            jobs = jobs.filter(*(models.Q(pk=one) for one in self.ids))
        for label in self.labels:
            jobs = jobs.filter(pk__in=newest_labelled(label, NEWEST_LABELLED).values("pk"))
        if self.tried_again:
            jobs = jobs.filter(attempt__gt=1, pk__in=self._newest_attempts().values("job"))
        return jobs.filter(finished_at__lte=self.ended_by) if self.ended_by else jobs

    def _with_error(self, text: str) -> models.QuerySet:
        sentence = Concat("exception_class", Value(": "), "message", output_field=models.TextField())
        return self._newest_attempts().alias(sentence=sentence).filter(sentence__icontains=text)

    def _newest_attempts(self) -> models.QuerySet:
        known = Attempt.objects.all()
        if self.last_attempt is not None:
            known = known.filter(pk__lte=self.last_attempt)
        return Attempt.objects.filter(pk__in=sliced(known.order_by("-pk").values("pk")[:NEWEST_ATTEMPTS]))


def in_state(state: str) -> models.Q:
    """Return the condition of a state, in the words of the index that serves it."""
    final = models.Q(finished_at__isnull=False) if state in states.FINAL else models.Q()
    return models.Q(state=state) & final


def newest_attempt() -> int | None:
    """Return the key of the newest attempt."""
    return Attempt.objects.order_by("-pk").values_list("pk", flat=True).first()


def sliced(keys: models.QuerySet) -> models.QuerySet | list[Any]:
    """Return the first few keys in the form in which IN takes them: a list where a subquery cannot be cut short."""
    if connections[database()].features.allow_sliced_subqueries_with_in:
        return keys
    return [next(iter(row.values())) for row in keys]  # MySQL


def _last_attempt(fingerprint: str) -> models.QuerySet:
    return Attempt.objects.filter(job=models.OuterRef("pk"), number=models.OuterRef("attempt"), fingerprint=fingerprint)


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list | tuple) else value


def after_each_other(jobs: models.QuerySet, count: int) -> Iterator[list[UUID]]:
    """Yield the keys of the jobs in handfuls, oldest first, each one once whatever becomes of them meanwhile."""
    last: UUID | None = None
    while True:
        rest = jobs if last is None else jobs.filter(pk__gt=last)
        ids = list(rest.order_by("pk").values_list("pk", flat=True)[:count])
        if not ids:
            return
        yield ids
        last = ids[-1]
