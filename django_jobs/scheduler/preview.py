"""Looks ahead: the next runs of a schedule, what the clock does to them, and what else runs then."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import count, islice

from django.utils.dates import WEEKDAYS_ABBR
from django.utils.timezone import localtime
from django.utils.translation import gettext

from .. import cron
from ..models import Schedule

YEAR = timedelta(days=370)
MINUTE = timedelta(minutes=1)
MOST_COMPARED = 200  # other schedules that are asked whether they run at the same time
_TICK = timedelta.resolution


def coming(schedule: Schedule, now: datetime, number: int) -> list[datetime]:
    """Return the next moments; none when it is off or its rule cannot be read."""
    if not schedule.enabled or not schedule.next_due_at:
        return []
    return following(schedule, schedule.next_due_at, now, number)


def following(schedule: Schedule, first: datetime | None, now: datetime, number: int) -> list[datetime]:
    """Return ``first`` and the moments after it, as many as the schedule still makes."""
    return list(islice(moments_from(schedule, first, now), number))


def moments_from(schedule: Schedule, first: datetime | None, now: datetime) -> Iterator[datetime]:
    """Yield ``first`` and the moments after it, to the last one of the schedule."""
    left = count() if schedule.max_runs is None else range(schedule.max_runs - schedule.run_count)
    for _ in left:
        if first is None:
            return
        yield first
        try:
            first = schedule.moment_after(max(first, now))
        except ValueError:  # it is not valid any more
            return


def in_zone(schedule: Schedule, moment: datetime) -> str:
    """Return a moment with its weekday in the zone of the schedule, or in the site's if it has no valid one."""
    shown = _local(schedule, moment)
    clock = "%H:%M:%S" if shown.second else "%H:%M"
    return f"{WEEKDAYS_ABBR[shown.weekday()]} {shown:%Y-%m-%d} {shown:{clock}} {shown.tzname()}"


def _local(schedule: Schedule, moment: datetime) -> datetime:
    try:
        return localtime(moment, schedule.zone)
    except ValueError:
        return localtime(moment)


def remarks(schedule: Schedule, now: datetime) -> list[str]:
    """Return what people should know of a valid cron rule: where cron surprises, and where clocks change."""
    if not schedule.cron:
        return []
    found = []
    if cron.has_either_day(schedule.cron):
        found.append(gettext("A day of the month and a day of the week are given: cron runs on either of them."))
    return [*found, *_clock_remarks(schedule, now)]


def _clock_remarks(schedule: Schedule, now: datetime) -> Iterator[str]:
    elapsed = cron.follows_elapsed_time(schedule.cron)
    for change in cron.clock_changes(schedule.cron, now, now + YEAR, schedule.zone):
        if change.wall is None:
            continue
        words = {
            "day": f"{WEEKDAYS_ABBR[change.wall.weekday()]} {change.wall:%Y-%m-%d}",
            "time": f"{change.wall:%H:%M}",
            "then": f"{change.after:%H:%M}",
        }
        if change.is_forward and not elapsed:
            yield gettext("%(day)s: the clock skips %(time)s. It runs right after, at %(then)s.") % words
        elif change.is_forward:
            yield gettext("%(day)s: the clock skips %(time)s. It goes on at its pace from %(then)s.") % words
        elif elapsed:
            yield gettext("%(day)s: %(time)s comes twice. It runs both times.") % words
        else:
            yield gettext("%(day)s: %(time)s comes twice. It runs the first time only.") % words


def offset_changes(schedule: Schedule, moments: list[datetime]) -> set[int]:
    """Return the places of those moments before which the zone's clock has been set."""
    offsets = [_local(schedule, moment).utcoffset() for moment in moments]
    return {place for place in range(1, len(offsets)) if offsets[place] != offsets[place - 1]}


def clashes(schedule: Schedule, moments: list[datetime]) -> dict[datetime, list[str]]:
    """Return the names of other schedules that run in the same minute, for each moment that has any."""
    if not moments:
        return {}
    others = Schedule.objects.filter(enabled=True, next_due_at__lt=moments[-1] + MINUTE)
    others = list(others.exclude(pk=schedule.pk).order_by("next_due_at")[:MOST_COMPARED])
    found = {moment: [other.name for other in others if _runs_within(other, moment)] for moment in moments}
    return {moment: names for moment, names in found.items() if names}


def _runs_within(schedule: Schedule, moment: datetime) -> bool:
    minute = moment.replace(second=0, microsecond=0)
    first = schedule.next_due_at
    try:
        if minute > first:
            first = schedule.moment_after(minute - _TICK)
    except ValueError:
        return False
    return first is not None and minute <= first < minute + MINUTE
