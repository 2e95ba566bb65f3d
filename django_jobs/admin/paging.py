"""Pages of jobs by key, newest first: the thousandth costs what the first one does."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import models
from django.db.models import F
from django.db.models.functions import Coalesce

from ..models import Job
from ..selection import sliced

WINDOW = 50_000  # jobs looked through for one page, where no index leads to those that are wanted


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where in the list one is: before or after a job, or at its top."""

    before: UUID | None = None
    after: UUID | None = None

    @classmethod
    def of(cls, before: str | None, after: str | None) -> Place:
        """Read it from an address; what is not an id counts as nothing."""
        return cls(before=_id(before), after=_id(after) if not _id(before) else None)

    @property
    def is_top(self) -> bool:
        return self.before is None and self.after is None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Jobs, newest first, and the places that the links below them lead to."""

    rows: list[Job]
    newer: UUID | None = None  # there is a page after this job
    older: UUID | None = None  # there is a page before this job
    looked_through: bool = False  # only WINDOW jobs were


def page_of(jobs: models.QuerySet, wanted: models.QuerySet, place: Place, size: int, *, few: bool, slow: bool) -> Page:
    """Return one page of the jobs that are wanted, its rows as ``jobs`` reads them.

    ``few``: an index leads to the few that are wanted, so they are sorted, whatever the planner thinks of their
    keys. ``slow``: rows have to be looked at one by one, so only WINDOW of them are.
    """
    end = _end_of_window(place) if slow else None
    key = _key(few)
    keys = _beyond(wanted, place, end).order_by(key.asc() if place.after else key.desc()).values("pk")
    rows = list(jobs.filter(pk__in=sliced(keys[: size + 1])).order_by("-pk"))
    more = len(rows) > size
    if not place.after:
        newer = (rows[0].pk if rows else place.before) if place.before else None
        return Page(rows=rows[:size], newer=newer, older=rows[size - 1].pk if more else end, looked_through=slow)
    if not more and end is None:  # nearly at the top: show all of it
        return page_of(jobs, wanted, Place(), size, few=few, slow=slow)
    shown = rows[-size:]
    newer = shown[0].pk if more else end
    return Page(rows=shown, newer=newer, older=shown[-1].pk if shown else place.after, looked_through=slow)


def _key(few: bool) -> models.expressions.Combinable:
    return Coalesce("pk", "pk") if few else F("pk")  # not in the order of the key's index


def _beyond(jobs: models.QuerySet, place: Place, end: UUID | None) -> models.QuerySet:
    if place.after:
        jobs = jobs.filter(pk__gt=place.after)
        return jobs.filter(pk__lte=end) if end else jobs
    if place.before:
        jobs = jobs.filter(pk__lt=place.before)
    return jobs.filter(pk__gte=end) if end else jobs


def _end_of_window(place: Place) -> UUID | None:
    """Return the key of the job up to which one looks; None when there are not so many."""
    jobs = Job.objects.order_by("pk" if place.after else "-pk")
    return _beyond(jobs, place, None).values_list("pk", flat=True)[WINDOW : WINDOW + 1].first()


def _id(text: str | None) -> UUID | None:
    try:
        return UUID(text) if text else None
    except ValueError:
        return None
