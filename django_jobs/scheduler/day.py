"""The next 24 hours across all schedules: how many runs each hour has, and of what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import takewhile
from math import ceil

from .. import cron
from ..models import Schedule
from .preview import MINUTE, moments_from

HOUR = timedelta(hours=1)
DAY = 24 * HOUR
MOST_STEPS = 20_000  # runs computed for one page, a second or two


@dataclass(kw_only=True)
class Hour:
    """One hour and what runs in it."""

    start: datetime
    runs: dict[int, int] = field(default_factory=dict)  # by the schedule's key: how many
    first: dict[int, datetime] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return sum(self.runs.values())

    def add(self, schedule: Schedule, moment: datetime, count: int = 1) -> None:
        self.runs[schedule.pk] = self.runs.get(schedule.pk, 0) + count
        self.first.setdefault(schedule.pk, moment)


@dataclass(kw_only=True)
class Day:
    """The hours, the schedules that run in them, and how many schedules were too many to be counted."""

    hours: list[Hour]
    schedules: dict[int, Schedule]
    left_out: int = 0


def day_ahead(now: datetime) -> Day:
    """Return the hours from the present one to the same one of tomorrow; what runs late is counted in the first."""
    start, end = now.replace(minute=0, second=0, microsecond=0), now + DAY
    hours = [Hour(start=start + number * HOUR) for number in range(ceil((end - start) / HOUR))]
    due = list(Schedule.objects.filter(enabled=True, next_due_at__lt=end).order_by("next_due_at"))
    day, steps = Day(hours=hours, schedules={}), 0
    for place, schedule in enumerate(due):
        if steps >= MOST_STEPS:
            day.left_out = len(due) - place
            break
        day.schedules[schedule.pk] = schedule
        counted = _counted(schedule, now, end)
        for moment, number in counted or _computed(schedule, now, end):
            hours[max(0, (moment - start) // HOUR)].add(schedule, moment, number)
            steps += counted is None
    return day


def _counted(schedule: Schedule, now: datetime, end: datetime) -> Iterator[tuple[datetime, int]] | None:
    """Yield moments, each with the number of runs it stands for; None for a rule that cannot be counted so."""
    if schedule.max_runs is not None:
        return None
    first, end = schedule.next_due_at, min(filter(None, (end, schedule.ends_at)))
    if schedule.every and schedule.every < HOUR:
        return _of_interval(first if first >= now else schedule.moment_after(now) or end, schedule.every, end)
    minutes = _minutes_of_each_hour(schedule)
    return _of_each_hour(max(first, now), minutes, end) if minutes else None


def _computed(schedule: Schedule, now: datetime, end: datetime) -> Iterator[tuple[datetime, int]]:
    for moment in takewhile(lambda one: one < end, moments_from(schedule, schedule.next_due_at, now)):
        yield moment, 1


def _minutes_of_each_hour(schedule: Schedule) -> list[int]:
    """Return the minutes of a rule that fires alike in every hour, in a zone that is whole hours from UTC."""
    try:
        minutes = cron.minutes_of_each_hour(schedule.cron) if schedule.cron else []
        return minutes if minutes and not schedule.next_due_at.astimezone(schedule.zone).utcoffset() % HOUR else []
    except ValueError:
        return []


def _of_each_hour(first: datetime, minutes: list[int], end: datetime) -> Iterator[tuple[datetime, int]]:
    hour = first.replace(minute=0, second=0, microsecond=0)
    while hour < end:
        moments = [moment for minute in minutes if first <= (moment := hour + minute * MINUTE) < end]
        if moments:
            yield moments[0], len(moments)
        hour += HOUR


def _of_interval(first: datetime, every: timedelta, end: datetime) -> Iterator[tuple[datetime, int]]:
    while first < end:
        following_hour = min(end, first.replace(minute=0, second=0, microsecond=0) + HOUR)
        number = -((first - following_hour) // every)  # rounded up
        yield first, number
        first += number * every
