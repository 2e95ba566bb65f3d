"""Decides what becomes of a schedule that is due: which moments make jobs, which are skipped, and what is next."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.utils.translation import gettext as _

from ..models import Schedule, ScheduleRun
from ..models.schedule import AfterDowntime, Overlap
from ..plain import plain

logger = logging.getLogger("django_jobs.scheduler")

ON_TIME = timedelta(seconds=30)  # a moment that is later than that was missed: a healthy worker is late by a second
MOST_WAITING = 100  # runs of one schedule that wait for the one before; a task slower than its schedule has no end

DUE, SKIPPED, MISSED = ScheduleRun.Kind.DUE, ScheduleRun.Kind.SKIPPED, ScheduleRun.Kind.MISSED


@dataclass(frozen=True, kw_only=True)
class Firing:
    """What becomes of one due schedule."""

    schedule: Schedule  # as it was read
    moments: tuple[datetime, ...] = ()  # that make a job each, oldest first
    missed: datetime | None = None  # the last moment that makes none, because nobody was there
    next_due_at: datetime | None = None
    note: str = ""  # not empty: it is disabled, and this is why

    @property
    def last_due_at(self) -> datetime | None:
        return max(filter(None, (*self.moments, self.missed, self.schedule.last_due_at)), default=None)


def firing(schedule: Schedule, now: datetime) -> Firing:
    """Say what becomes of a schedule that is due at ``now``; of one whose rule is not valid, that it is disabled."""
    try:
        moments, missed = _due_moments(schedule, now)
        following = schedule.moment_after(max(filter(None, (now, *moments, missed, schedule.last_due_at))))
    except ValueError as error:
        logger.error("schedule %s (%s) is disabled: %s", schedule.pk, plain(schedule.name), error)
        return Firing(schedule=schedule, note=_("Its rule is not valid: %(error)s") % {"error": error})
    if schedule.max_runs is not None:
        moments = moments[: max(0, schedule.max_runs - schedule.run_count)]
        if schedule.run_count + len(moments) >= schedule.max_runs:
            following = None
    return Firing(
        schedule=schedule,
        moments=moments,
        missed=missed,
        next_due_at=following,
        note="" if following else _why_over(schedule),
    )


def _due_moments(schedule: Schedule, now: datetime) -> tuple[tuple[datetime, ...], datetime | None]:
    """Return the moments that are to make jobs, and one that was missed."""
    due = schedule.next_due_at
    if due is None or due > now:
        return (), None
    following = schedule.moment_after(due)
    found = [due] if following is None or following > now else _after_downtime(schedule, due, following, now)
    moments = tuple(one for one in found if schedule.last_due_at is None or one > schedule.last_due_at)
    if schedule.after_downtime == AfterDowntime.SKIP and moments and now - moments[-1] > ON_TIME:
        return (), moments[-1]
    return moments, None


def _after_downtime(schedule: Schedule, due: datetime, following: datetime, now: datetime) -> list[datetime]:
    """Return those of several due moments that the schedule wants: the last one, or all up to a number.

    The first one may be of a rule that is the schedule's no longer; the others follow from the present one.
    """
    if schedule.after_downtime != AfterDowntime.ALL:
        return [schedule.latest_moment(following, now)]
    return [due, *schedule.latest_moments(following, now, schedule.catch_up)][-schedule.catch_up :]


def _why_over(schedule: Schedule) -> str:
    if schedule.once_at:
        return _("It ran at its only moment.")
    if schedule.max_runs is not None:
        return _("It has made all its runs.")
    return _("Its time is over.")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One moment, and what is made of it."""

    schedule: Schedule
    due_at: datetime
    kind: str
    waits: bool = False  # its job waits for the one before


def planned(one: Firing, unfinished: int) -> list[Planned]:
    """Return what is made of each moment, given how many jobs of the schedule have not finished."""
    schedule, plan = one.schedule, []
    if one.missed:
        plan.append(Planned(schedule=schedule, due_at=one.missed, kind=MISSED))
    for due_at in one.moments:
        going = unfinished > 0 and schedule.overlap != Overlap.RUN
        skipped = going and (schedule.overlap == Overlap.SKIP or unfinished > MOST_WAITING)
        plan.append(
            Planned(schedule=schedule, due_at=due_at, kind=SKIPPED if skipped else DUE, waits=going and not skipped)
        )
        unfinished += not skipped
    return plan
