"""Computes the next moment of a schedule, from a cron expression or an interval.

Cron reads wall clocks, and wall clocks jump. An expression whose hour field allows all 24 hours follows
elapsed time: it fires whenever the clock shows a matching time, twice where an hour is repeated. Any
other fires once for each matching wall-clock time of a date: at the first occurrence of a repeated one,
and right after the gap for all those that the clock skips.
"""

from __future__ import annotations

import copy
import re
import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from functools import cache, cached_property, lru_cache
from zoneinfo import ZoneInfo

from croniter import CroniterBadDateError, croniter

from .exceptions import InvalidCron

ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
MAX_YEARS = 8  # the longest wait for a 29 February, over a year such as 2100

_TICK = timedelta.resolution
_DAY = timedelta(days=1)


def check(expression: str) -> None:
    """Raise ``InvalidCron``, with the reason and a hint, unless ``expression`` can be a schedule's."""
    _rule(expression)


def next_time(expression: str, after: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment strictly after ``after``, in UTC, with the expression read in ``zone``.

    Raise ``InvalidCron`` for an expression that ``check`` refuses, and ``ValueError`` for a naive ``after``.
    """
    rule = _rule(expression)
    after = _in_utc(after, "after")
    if rule.allows_every_hour:
        return _next_by_elapsed_time(rule, after, zone)
    return _next_by_wall_clock(rule, after, zone)


def is_same(expression: str, other: str) -> bool:
    """Say whether two expressions mean the same, however they are written."""
    return spelled(expression) == spelled(other)


def spelled(expression: str) -> str:
    """Return an expression with each field as ``*`` or as a list of all its numbers."""
    return _rule(expression).text


def has_either_day(expression: str) -> bool:
    """Say whether both day fields are restricted, of which cron wants only one to match."""
    return "*" not in spelled(expression).split()[2::2]


def minutes_of_each_hour(expression: str) -> list[int]:
    """Return the minutes at which it fires in every hour of every day; none if it leaves an hour out."""
    minutes, _hours, *days = spelled(expression).split()
    if not follows_elapsed_time(expression) or days != ["*"] * len(days):
        return []
    return list(range(60)) if minutes == "*" else [int(minute) for minute in minutes.split(",")]


def zone(name: str) -> ZoneInfo:
    """Return the time zone of that name; raise ValueError, with the nearest known name, if there is none."""
    try:
        return ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder such as "Europe"
        near = get_close_matches(name, _zone_names(), n=1, cutoff=0.5)
        hint = f' Did you mean "{near[0]}"?' if near else ' Write it as in "Europe/Berlin".'
        raise ValueError(f'There is no time zone "{name[:64]}".{hint}') from None


@cache
def _zone_names() -> list[str]:
    return sorted(zoneinfo.available_timezones())


def next_interval(every: timedelta, anchor: datetime, after: datetime) -> datetime:
    """Return the first of anchor, anchor + every, anchor + 2 x every ... strictly after ``after``, in UTC.

    Raise ``ValueError`` for a naive datetime or an interval that is not longer than zero.
    """
    if not every > timedelta(0):
        raise ValueError(f"An interval must be longer than zero, not {every}: try timedelta(minutes=5).")
    anchor, after = _in_utc(anchor, "anchor"), _in_utc(after, "after")
    if after < anchor:
        return anchor
    return anchor + ((after - anchor) // every + 1) * every


def _in_utc(moment: datetime, name: str) -> datetime:
    if moment.utcoffset() is None:
        raise ValueError(f"{name} must know its time zone, not be naive as {moment} is: use timezone.now().")
    return moment.astimezone(UTC)


# Clock changes.


@dataclass(frozen=True, kw_only=True)
class ClockChange:
    """A jump of a zone's clock, and what it does to an expression."""

    at: datetime  # in UTC
    before: datetime  # what the clock would have shown, and
    after: datetime  # what it shows; both naive
    wall: datetime | None  # the first time that the expression matches among those skipped or repeated

    @property
    def is_forward(self) -> bool:
        return self.after > self.before


def clock_changes(expression: str, start: datetime, end: datetime, zone: ZoneInfo) -> Iterator[ClockChange]:
    """Yield the jumps of the clock after ``start`` and up to ``end``."""
    rule = _rule(expression)
    while (at := _first_change(zone, start, end)) is not None:
        before, after = (_naive(at) + _offset(moment, zone) for moment in (at - timedelta(seconds=1), at))
        low, high = min(before, after), max(before, after)
        wall = rule.wall_after(low - _TICK)
        yield ClockChange(at=at, before=before, after=after, wall=wall if wall < high else None)
        start = at


def follows_elapsed_time(expression: str) -> bool:
    """Say whether the hour field allows all hours, so that the clock's jumps do not matter."""
    return _rule(expression).allows_every_hour


def _next_by_elapsed_time(rule: _Rule, after: datetime, zone: ZoneInfo) -> datetime:
    """Look through the stretches between clock changes, in each of which the offset from UTC is one."""
    start = after + _TICK
    while True:
        offset = _offset(start, zone)
        wall = _naive(start) + offset
        moment = (rule.wall_after(wall - _TICK) - offset).replace(tzinfo=UTC)
        change = _first_change(zone, start, moment)
        if change is None:
            return moment
        start = change


def _next_by_wall_clock(rule: _Rule, after: datetime, zone: ZoneInfo) -> datetime:
    wall = _naive(after.astimezone(zone))
    while True:
        wall = rule.wall_after(wall)
        moment = _first_reached(wall, zone)
        if moment > after:  # it is not where the clock goes through a repeated hour again
            return moment


def _first_reached(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the first moment at which the clock shows ``wall``, or shows more because it skips it."""
    earlier, later = (wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1))
    if later < earlier:  # PEP 495: in a gap, fold=0 reads with the offset before it, fold=1 with that after
        return _first_change(zone, later, earlier)
    return earlier


def _first_change(zone: ZoneInfo, start: datetime, end: datetime) -> datetime | None:
    """Return the first moment after ``start`` and not after ``end`` at which the clock jumps, if any."""
    offset = _offset(start, zone)
    while start < end:
        stop = min(start + _DAY, end)  # day by day: over a year, summer time may have come and gone
        if _offset(stop, zone) != offset:
            return _bisect_change(zone, start, stop)
        start = stop
    return None


def _bisect_change(zone: ZoneInfo, before: datetime, changed: datetime) -> datetime:
    offset = _offset(before, zone)
    while changed - before > timedelta(seconds=1):
        middle = before + (changed - before) / 2
        if _offset(middle, zone) == offset:
            before = middle
        else:
            changed = middle
    return changed.replace(microsecond=0)  # clocks change on whole seconds


def _offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset()


def _naive(moment: datetime) -> datetime:
    return moment.replace(tzinfo=None)


# Reading an expression. The values of each field are spelled out for croniter, which would also take
# what is refused here, and which reads 5-5 as the whole range.


@dataclass(frozen=True, kw_only=True)
class _Rule:
    """A cron expression that was found valid, its fields as lists of numbers or ``*``."""

    text: str
    allows_every_hour: bool

    def wall_after(self, wall: datetime) -> datetime:
        """Return the first matching wall-clock time after ``wall``, as if clocks never changed."""
        minute = wall.replace(second=0, microsecond=0)
        return copy.copy(self._croniter).get_next(datetime, start_time=minute)  # it remembers: one for each question

    @cached_property
    def _croniter(self) -> croniter:
        return croniter(self.text, datetime(2000, 1, 1), max_years_between_matches=MAX_YEARS)


@dataclass(frozen=True, kw_only=True)
class _Field:
    """A field's name and bounds; its range can go round, as in 22-2 or fri-mon."""

    name: str
    low: int
    high: int
    words: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    @property
    def highest_number(self) -> int:
        return 7 if self is _DAY_OF_WEEK else self.high  # 7 is Sunday too

    def __str__(self) -> str:
        words = f" or {self.words[0]}-{self.words[-1]}" if self.words else ""
        return f"{self.low}-{self.highest_number}{words}"


_MINUTE = _Field(name="minute", low=0, high=59)
_HOUR = _Field(name="hour", low=0, high=23)
_DAY_OF_MONTH = _Field(name="day of month", low=1, high=31)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = _Field(name="month", low=1, high=12, words=_MONTHS)
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_DAY_OF_WEEK = _Field(name="day of week", low=0, high=6, words=_WEEKDAYS)
_FIELDS = (_MINUTE, _HOUR, _DAY_OF_MONTH, _MONTH, _DAY_OF_WEEK)

_VALUE = r"[0-9]{1,4}|[a-z]{3}"
_PART = re.compile(rf"(?:\*|(?P<first>{_VALUE})(?:-(?P<last>{_VALUE}))?)(?:/(?P<step>[0-9]{{1,4}}))?")
_SYMBOL = re.compile(r"[#?]|lw|(?<![a-z])[lwrh](?![a-z])")  # a letter by itself, not the one in "mar"

_REASONS = {
    "l": "L (the last day) is not supported: run daily, and let the task look at the date.",
    "lw": "LW (the last working day) is not supported: run daily, and let the task look at the date.",
    "w": "W (the nearest working day) is not supported: run on mon-fri, and let the task look at the date.",
    "#": "# (the nth weekday) is not supported: run every week, and let the task look at the date.",
    "?": "? is not supported: write * for any day.",
    "r": "R (random) is not supported: write a number.",
    "h": "H (hashed) is not supported: write a number.",
}


def _rule(expression: str) -> _Rule:
    if not isinstance(expression, str):
        kind = type(expression).__name__
        raise InvalidCron(f'A cron expression is text such as "0 3 * * *", not a {kind}.')
    return _parsed(expression)


@lru_cache(maxsize=1024)
def _parsed(expression: str) -> _Rule:
    texts = _split(_without_alias(expression.strip().lower()))
    values = [_values(text, field) for text, field in zip(texts, _FIELDS, strict=True)]
    spelled = [_spelled(*each) for each in zip(texts, values, _FIELDS, strict=True)]
    rule = _Rule(text=" ".join(spelled), allows_every_hour=len(values[1]) == _HOUR.size)
    _check_date_exists(rule, texts)
    return rule


def _without_alias(expression: str) -> str:
    if expression == "@reboot":
        raise InvalidCron("@reboot names no time but the start of a machine. Enqueue the task when you deploy.")
    if expression.startswith("@") and expression not in ALIASES:
        raise InvalidCron(f'"{expression[:40]}" is not an alias. Use one of {", ".join(ALIASES)}.')
    return ALIASES.get(expression, expression)


def _split(expression: str) -> list[str]:
    texts = re.findall(r"\S+", expression, re.ASCII)
    if len(texts) == len(_FIELDS):
        return texts
    hint = "Write * for a field that allows everything."
    if len(texts) > len(_FIELDS):
        hint = "Leave seconds and years out; to run more often than every minute, use an interval."
    names = ", ".join(field.name for field in _FIELDS)
    raise InvalidCron(f"Cron has five fields ({names}), and this has {len(texts)}. {hint}")


def _values(text: str, field: _Field) -> set[int]:
    return set().union(*(_values_of_part(part, field) for part in text.split(",")))


def _values_of_part(part: str, field: _Field) -> set[int]:
    found = _PART.fullmatch(part)
    if found is None or _SYMBOL.search(part):
        raise _not_understood(part, field)
    first, last = _ends(found["first"], found["last"], found["step"], field)
    step = _step(found["step"], field)
    return {(value - field.low) % field.size + field.low for value in range(first, last + 1, step)}


def _not_understood(part: str, field: _Field) -> InvalidCron:
    symbol = _SYMBOL.search(part)
    reason = _REASONS[symbol[0]] if symbol else f"write *, or {field}, with - for a range and / for a step."
    return InvalidCron(f'The {field.name} "{part[:40]}" is refused: {reason}')


def _ends(first: str | None, last: str | None, step: str | None, field: _Field) -> tuple[int, int]:
    if first is None:
        return field.low, field.high
    start = _number(first, field)
    if last is None:
        return start, max(start, field.high) if step else start  # 5/15 is 5-59/15
    end = _number(last, field)
    return start, end if start <= end else end + field.size


def _number(text: str, field: _Field) -> int:
    if text in field.words:
        return field.words.index(text) + field.low
    if not text.isdigit():
        raise _not_understood(text, field)
    if not field.low <= int(text) <= field.highest_number:
        raise InvalidCron(f'The {field.name} "{text}" is out of range: write {field}.')
    return int(text)


def _step(text: str | None, field: _Field) -> int:
    step = int(text or 1)
    if not 1 <= step <= field.size:
        raise InvalidCron(f"The {field.name} cannot go in steps of {step}: write 1-{field.size}, or use an interval.")
    return step


def _spelled(text: str, values: set[int], field: _Field) -> str:
    # A star that leaves nothing out must stay a star: it makes the other day field decide alone.
    if "*" in text and len(values) == field.size:
        return "*"
    return ",".join(map(str, sorted(values)))


def _check_date_exists(rule: _Rule, texts: list[str]) -> None:
    try:
        rule.wall_after(datetime(2000, 1, 1))
    except CroniterBadDateError:
        raise InvalidCron(
            f'The day of month "{texts[2][:40]}" does not come in the month "{texts[3][:40]}", not within '
            f"{MAX_YEARS} years. Choose a day that the month has."
        ) from None
