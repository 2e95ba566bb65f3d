"""What the page of the next 24 hours shows: each hour with its runs, and the load as a bar."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.utils.dates import WEEKDAYS_ABBR
from django.utils.timezone import localtime

from ..models import Schedule
from ..scheduler.day import Day, Hour, day_ahead
from . import words
from .runs import last_runs, typical_duration

NAMED = 8  # schedules of an hour that are named
MEASURED = 200  # schedules whose typical duration is looked up


@dataclass(frozen=True, kw_only=True)
class HourLine:
    """One hour as it is shown."""

    label: str
    count: int
    width: int  # percent of the busiest hour
    busy: str  # how long all its runs take together, if that is known
    entries: list[dict[str, Any]]
    more: int


def hours_of(now: datetime, link: Callable[[int], str]) -> dict[str, Any]:
    """Return the context of the page."""
    day = day_ahead(now)
    lengths = _typical_durations(list(day.schedules.values())[:MEASURED])
    most = max((hour.count for hour in day.hours), default=0)
    return {
        "hours": [_line(hour, day, lengths, most, link) for hour in day.hours],
        "total": sum(hour.count for hour in day.hours),
        "left_out": day.left_out,
        "zone": localtime(now).tzname(),
    }


def _typical_durations(schedules: list[Schedule]) -> dict[int, timedelta]:
    found = {pk: typical_duration(runs) for pk, runs in last_runs(schedules).items()}
    return {pk: length for pk, length in found.items() if length is not None}


def _line(hour: Hour, day: Day, lengths: dict[int, timedelta], most: int, link: Callable[[int], str]) -> HourLine:
    start = localtime(hour.start)
    busy = sum((lengths[pk] * count for pk, count in hour.runs.items() if pk in lengths), timedelta())
    first = sorted(hour.runs, key=hour.first.__getitem__)
    return HourLine(
        label=f"{WEEKDAYS_ABBR[start.weekday()]} {start:%H:%M}",
        count=hour.count,
        width=round(100 * hour.count / most) if most else 0,
        busy=words.took(busy) if busy else "",
        entries=[_entry(day.schedules[pk], hour, link) for pk in first[:NAMED]],
        more=max(0, len(first) - NAMED),
    )


def _entry(schedule: Schedule, hour: Hour, link: Callable[[int], str]) -> dict[str, Any]:
    return {
        "time": f"{localtime(hour.first[schedule.pk]):%H:%M}",
        "name": schedule.name,
        "url": link(schedule.pk),
        "times": hour.runs[schedule.pk],
    }
