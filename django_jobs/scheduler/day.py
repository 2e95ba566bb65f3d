"""The next 24 hours across all schedules: how many runs each hour has, and of what."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ..models import Schedule
from .preview import following

HOUR = timedelta(hours=1)
HOURS = 24
MOST_RUNS = 24 * 60  # of one schedule by cron: one each minute
MOST_STEPS = 20_000  # runs computed for one page, a second or so; schedules at an interval are only counted


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
    """Return the hours from the present one on; whatever runs late is counted in the first."""
    start = now.replace(minute=0, second=0, microsecond=0)
    hours = [Hour(start=start + number * HOUR) for number in range(HOURS)]
    end = start + HOURS * HOUR
    due = list(Schedule.objects.filter(enabled=True, next_due_at__lt=end).order_by("next_due_at"))
    day, steps = Day(hours=hours, schedules={}), 0
    for place, schedule in enumerate(due):
        if steps >= MOST_STEPS:
            day.left_out = len(due) - place
            break
        day.schedules[schedule.pk] = schedule
        for moment, count in _runs(schedule, now, end):
            hours[max(0, (moment - start) // HOUR)].add(schedule, moment, count)
            steps += 1
    return day


def _runs(schedule: Schedule, now: datetime, end: datetime) -> Iterator[tuple[datetime, int]]:
    """Yield moments, each with the number of runs that it stands for."""
    if schedule.every and schedule.every < HOUR and schedule.max_runs is None:
        yield from _of_interval(schedule, end)
        return
    for moment in following(schedule, schedule.next_due_at, now, MOST_RUNS):
        if moment >= end:
            return
        yield moment, 1


def _of_interval(schedule: Schedule, end: datetime) -> Iterator[tuple[datetime, int]]:
    """Count by hours: at every second a day has 86,400 runs."""
    moment = schedule.next_due_at
    end = min(filter(None, (end, schedule.ends_at)))
    while moment < end:
        following_hour = min(end, moment.replace(minute=0, second=0, microsecond=0) + HOUR)
        count = -((moment - following_hour) // schedule.every)  # rounded up
        yield moment, count
        moment += count * schedule.every
