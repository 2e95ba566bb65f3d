"""Pages of jobs by key, newest first: the thousandth costs what the first one does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID

from django.db import models
from django.db.models import F
from django.db.models.functions import Coalesce

from .. import states
from ..models import Job
from ..selection import in_state, sliced

WINDOW = 50_000  # jobs looked through for one page, where no index leads to those that are wanted
LATEST = 1000  # of the jobs of a state, those that ended last


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
    is_cut: bool = False  # it ends where WINDOW jobs were looked through


def _nowhere(before: UUID) -> UUID | None:
    return None


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to come by the jobs that are wanted."""

    is_short: bool = False  # an index leads to the few of them, to be sorted whatever a planner thinks of their keys
    is_bounded: bool = False  # they may be far apart: WINDOW jobs are looked through, by key
    jump: Callable[[UUID], UUID | None] = _nowhere  # to a job from which to go on when none of those is wanted


def page_of(jobs: models.QuerySet, wanted: models.QuerySet, place: Place, size: int, way: Way) -> Page:
    """Return one page of the jobs that are wanted, its rows as ``jobs`` reads them."""
    end = _end_of_window(place) if way.is_bounded else None
    key = _key(way.is_short)
    keys = _beyond(wanted, place, end).order_by(key.asc() if place.after else key.desc()).values("pk")
    rows = list(jobs.filter(pk__in=sliced(keys[: size + 1])).order_by("-pk"))
    more = len(rows) > size
    is_cut = end is not None and not more
    if place.after:
        if not more and not is_cut:  # nearly at the top: show all of it
            return page_of(jobs, wanted, Place(), size, way)
        shown = rows[-size:]
        older = shown[-1].pk if shown else place.after
        return Page(rows=shown, newer=shown[0].pk if more else end, older=older, is_cut=is_cut)
    if is_cut and not rows and (found := way.jump(end)):
        from_there = Place(before=UUID(int=found.int + 1))
        return page_of(jobs, wanted, from_there, size, replace(way, jump=_nowhere))
    newer = (rows[0].pk if rows else place.before) if place.before else None
    return Page(rows=rows[:size], newer=newer, older=rows[size - 1].pk if more else end, is_cut=is_cut)


def newest_in_state(state: str, before: UUID) -> UUID | None:
    """Return a new job of a state, older than another one, by the state's index.

    Of those that have ended it is one that ended late, and hardly ever far from the newest.
    """
    jobs = Job.objects.filter(in_state(state), pk__lt=before)
    if state not in states.FINAL:
        return jobs.order_by(_key(True).desc()).values_list("pk", flat=True).first()
    return max(jobs.order_by("-prune_at").values_list("pk", flat=True)[:LATEST], default=None)


def _key(is_short: bool) -> models.expressions.Combinable:
    return Coalesce("pk", "pk") if is_short else F("pk")  # the first is not the order of the key's index


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
