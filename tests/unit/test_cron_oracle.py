"""Next moments against an independent implementation, cronsim, on random expressions, zones and moments.

Where both have a policy of their own the expression is first written so that cronsim's policy says what ours
does; docs/explanation/schedules.md lists the differences. ``make oracle CASES=100000 SEED=7`` is the long run.
"""

from __future__ import annotations

import os
import random
import signal
import zoneinfo
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim, CronSimError

from django_jobs.cron import check, next_time
from django_jobs.exceptions import InvalidCron

CASES = int(os.environ.get("CRON_CASES") or 1500)
SEED = int(os.environ.get("CRON_SEED") or random.SystemRandom().randrange(10**6))
ZONES = sorted(zoneinfo.available_timezones())
PAST_MIDNIGHT = {  # where clocks have changed at 00:01
    "America/Goose_Bay",
    "America/Moncton",
    "America/St_Johns",
    "Antarctica/Casey",
    "Asia/Gaza",
    "Asia/Hebron",
    "Canada/Newfoundland",
}
MONTHS = ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"]
NAMES = {3: MONTHS, 4: ["sun", "mon", "tue", "wed", "thu", "fri", "sat"]}
BOUNDS = [(0, 59), (0, 23), (1, 31), (1, 12), (0, 6)]
START, END = datetime(1995, 1, 1, tzinfo=UTC), datetime(2037, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Field:
    """One field as it is written, and the values that it means."""

    text: str
    values: frozenset[int]
    is_whole: bool  # it leaves nothing out

    @property
    def listed(self) -> str:
        return ",".join(map(str, sorted(self.values)))


def random_field(chance: random.Random, number: int) -> Field:
    low, high = BOUNDS[number]

    def name(value: int) -> str:
        return NAMES[number][value - low] if number in NAMES and chance.random() < 0.4 else str(value)

    def part() -> tuple[str, set[int]]:
        first = chance.randint(low, high)
        last, step = chance.randint(first, high), chance.randint(1, (high - low) // 2 + 1)
        match chance.randrange(4):
            case 0:
                return name(first), {first}
            case 1:
                return f"{name(first)}-{name(last)}", set(range(first, last + 1))
            case 2 if first < last:
                return f"{first}-{last}/{step}", set(range(first, last + 1, step))
            case _:
                return f"*/{step}", set(range(low, high + 1, step))

    if chance.random() < (0.25, 0.35, 0.6, 0.6, 0.6)[number]:
        return Field("*", frozenset(range(low, high + 1)), True)
    parts = [part() for _ in range(chance.choice([1, 1, 1, 2, 3]))]
    values = frozenset().union(*(one for _, one in parts))
    return Field(",".join(text for text, _ in parts), values, len(values) == high - low + 1)


def as_cronsim_means_it(fields: list[Field]) -> str:
    """Write an expression so that Debian's rules, which go by the stars, say what ours do.

    Elapsed time: there if minute or hour begins with a star; here if the hour leaves nothing out. Either day:
    there unless one of the day fields begins with a star; here unless one of them leaves nothing out.
    """
    minute, hour, day, month, weekday = fields
    elapsed = hour.is_whole
    days = ("*" if one.is_whole and "*" in one.text else one.listed for one in (day, weekday))
    first, second = days
    return " ".join(
        [minute.listed, "*" if elapsed else hour.listed, first, "*" if month.is_whole else month.listed, second]
    )


def offset_changes(chance: random.Random, zone: ZoneInfo) -> datetime | None:
    """Return a moment within a day of a clock change of the zone, if it has one in a year taken at random."""
    start = datetime(chance.randint(START.year, END.year - 1), 1, 1, tzinfo=UTC)
    days = [start + timedelta(days=day) for day in range(366)]
    offsets = [day.astimezone(zone).utcoffset() for day in days]
    changes = [place for place in range(1, len(days)) if offsets[place] != offsets[place - 1]]
    return days[chance.choice(changes)] - timedelta(minutes=chance.randint(0, 2880)) if changes else None


def random_moment(chance: random.Random, zone: ZoneInfo) -> datetime:
    anywhere = START + timedelta(seconds=chance.randrange(int((END - START).total_seconds())))
    return (chance.random() < 0.6 and offset_changes(chance, zone)) or anywhere


class Endless(Exception):
    """Cronsim goes round for ever, as it does where clocks change at a minute past midnight."""


@contextmanager
def bounded(zone: ZoneInfo) -> Iterator[None]:
    """Raise Endless after five seconds of processor time, of which a moment takes some milliseconds."""

    def give_up(*_: object) -> None:
        assert zone.key in PAST_MIDNIGHT, zone
        raise Endless

    before = signal.signal(signal.SIGVTALRM, give_up)
    signal.setitimer(signal.ITIMER_VIRTUAL, 5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def cronsim_time(expression: str, after: datetime, zone: ZoneInfo) -> datetime:
    """Return cronsim's next moment; in the second pass of a repeated hour it begins with one that is past."""
    with bounded(zone):
        for moment in CronSim(expression, after.astimezone(zone)):
            if moment.astimezone(UTC) > after:
                return moment.astimezone(UTC)
    raise AssertionError(f"cronsim finds nothing for {expression}")


def is_other_policy(expression: str, after: datetime, zone: ZoneInfo, ours: datetime) -> bool:
    try:
        return cronsim_time(expression, after, zone) != ours
    except (CronSimError, Endless):  # CronSimError: both days at once never come
        return True


def test_random_cases_agree_with_cronsim(capsys):
    chance, met = random.Random(SEED), Counter()
    with capsys.disabled():
        print(f" [{CASES} cases, seed {SEED}]", end="")
    while met["compared"] < CASES:
        fields = [random_field(chance, number) for number in range(5)]
        expression = " ".join(field.text for field in fields)
        zone = ZoneInfo(chance.choice(ZONES))
        after = random_moment(chance, zone)
        try:
            check(expression)
        except InvalidCron as error:
            assert "does not come in the month" in str(error), expression
            met["impossible"] += 1
            continue

        ours = next_time(expression, after, zone)
        try:
            theirs = cronsim_time(as_cronsim_means_it(fields), after, zone)
        except Endless:
            met["endless"] += 1
            continue

        assert ours == theirs, f"{expression!r} after {after} in {zone}: {ours}, cronsim {theirs} (seed {SEED})"
        met["compared"] += 1
        met["other policy"] += is_other_policy(expression, after, zone, ours)
    with capsys.disabled():
        print(f" {dict(met)}", end="")


def test_where_clocks_change_at_a_minute_past_midnight_cronsim_goes_round_for_ever_and_we_do_not():
    expression, zone = "18,3,5 */6,7 22-28/13 jun-nov 1-2/2,0,2-5", ZoneInfo("America/St_Johns")
    after = datetime(2003, 10, 26, 3, 7, tzinfo=UTC)

    assert next_time(expression, after, zone) == datetime(2003, 10, 26, 3, 33, tzinfo=UTC)  # 00:03 there
    with pytest.raises(Endless):
        cronsim_time(expression, after, zone)


@pytest.mark.parametrize(
    ("expression", "after", "ours", "theirs"),
    [
        # A star in the minutes is elapsed time there, though the hour is given.
        ("*/30 1-3 * * *", "2025-10-26T00:40", "2025-10-26T02:00", "2025-10-26T01:00"),
        # So is a star with a step in the hours, which leaves hours out.
        ("30 */2 * * *", "2025-10-26T00:40", "2025-10-26T03:30", "2025-10-26T01:30"),
        # All hours without a star are times of a clock there.
        ("30 0-23 * * *", "2025-10-26T00:40", "2025-10-26T01:30", "2025-10-26T02:30"),
        # A star with a step in a day field asks for both days there.
        ("0 0 */2 * mon", "2025-06-02T00:00", "2025-06-02T22:00", "2025-06-08T22:00"),
    ],
)
def test_where_policies_differ(expression, after, ours, theirs):
    """Each difference that the docs list, in Berlin."""
    zone, moment = ZoneInfo("Europe/Berlin"), datetime.fromisoformat(after).replace(tzinfo=UTC)

    assert next_time(expression, moment, zone).isoformat()[:16] == ours
    assert cronsim_time(expression, moment, zone).isoformat()[:16] == theirs
