"""Which expressions are refused and why, and when schedules fire, above all where clocks change."""

from datetime import UTC, date, datetime, timedelta
from itertools import count
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobs.cron import (
    ALIASES,
    check,
    clock_changes,
    has_either_day,
    is_same,
    minutes_of_each_hour,
    next_interval,
    next_time,
    zone,
)
from django_jobs.exceptions import InvalidCron

BERLIN = ZoneInfo("Europe/Berlin")  # 2025: forward on 30 March at 2:00, back on 26 October at 3:00
MINUTE = timedelta(minutes=1)


def fires(expression, zone, start, number):
    """Return the next ``number`` moments after ``start``, both as the clock of ``zone`` shows them."""
    moment, found = datetime.fromisoformat(start).replace(tzinfo=zone), []
    for _ in range(number):
        moment = next_time(expression, moment, zone)
        found.append(moment.astimezone(zone).strftime("%d %H:%M %z")[:-2])
    return found


def from_2025(expression):
    return next_time(expression, datetime(2025, 1, 1, tzinfo=UTC), UTC).isoformat()[:16]


# Which expressions are allowed, and what they mean.


@pytest.mark.parametrize(
    ("expression", "first"),
    [
        ("* * * * *", "2025-01-01T00:01"),
        ("*/15 * * * *", "2025-01-01T00:15"),
        ("5/15 * * * *", "2025-01-01T00:05"),
        ("59/15 * * * *", "2025-01-01T00:59"),
        ("10-20/7 3 * * *", "2025-01-01T03:10"),
        ("30,10 * * * *", "2025-01-01T00:10"),
        ("0 5-5 * * *", "2025-01-01T05:00"),
        ("0 22-2 * * *", "2025-01-01T01:00"),
        ("0 23-5/2 * * *", "2025-01-01T01:00"),
        ("0 0 * * 7", "2025-01-05T00:00"),
        ("0 0 * * 0", "2025-01-05T00:00"),
        ("0 0 * * SUN", "2025-01-05T00:00"),
        ("0 0 * * 7-7", "2025-01-05T00:00"),
        ("0 0 * * fri-mon", "2025-01-03T00:00"),
        ("0 0 * * 5-7", "2025-01-03T00:00"),
        ("0 0 * * 6/2", "2025-01-04T00:00"),
        ("0 0 * * 7/2", "2025-01-05T00:00"),
        ("0 0 1 nov-feb *", "2025-02-01T00:00"),
        ("0 0 1 feb,Mar *", "2025-02-01T00:00"),
        ("0 0 31 * *", "2025-01-31T00:00"),
        ("0 0 31 4-6 *", "2025-05-31T00:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * fri", "2025-01-03T00:00"),
        ("0 0 */1 * fri", "2025-01-03T00:00"),
        ("0 0 31 2 fri", "2025-02-07T00:00"),
        ("*/60 */24 * * *", "2025-01-02T00:00"),
        ("  0\t4  * * * ", "2025-01-01T04:00"),
        ("@hourly", "2025-01-01T01:00"),
        ("@daily", "2025-01-02T00:00"),
        ("@midnight", "2025-01-02T00:00"),
        ("@weekly", "2025-01-05T00:00"),
        ("@monthly", "2025-02-01T00:00"),
        ("@yearly", "2026-01-01T00:00"),
        (" @Annually", "2026-01-01T00:00"),
    ],
)
def test_an_expression_fires_when_it_says(expression, first):
    check(expression)

    assert from_2025(expression) == first


def test_every_alias_is_allowed():
    for alias in ALIASES:
        check(alias)


def test_a_29_february_is_found_over_a_century_without_one():
    moment = next_time("0 0 29 2 *", datetime(2096, 2, 29, tzinfo=UTC), UTC)

    assert moment == datetime(2104, 2, 29, tzinfo=UTC)


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("", "Cron has five fields (minute, hour, day of month, month, day of week), and this has 0. "),
        ("0 0 * *", "and this has 4. Write * for a field that allows everything."),
        ("0 0 * * * *", "and this has 6. Leave seconds and years out; to run more often than "),
        ("0 0 * * * * 2025", "and this has 7. "),
        ("0\u00a00 * * *", "and this has 4. "),
        ("@reboot", "@reboot names no time but the start of a machine. Enqueue the task when you deploy."),
        ("@every", '"@every" is not an alias. Use one of @hourly, @daily, '),
        ("@daily * * * *", '"@daily * * * *" is not an alias. '),
        ("0 0 L * *", 'The day of month "l" is refused: L (the last day) is not supported: run daily, '),
        ("0 0 1,L-3 * *", "L (the last day) is not supported"),
        ("0 0 * * 5L", "L (the last day) is not supported"),
        ("0 0 LW * *", "LW (the last working day) is not supported"),
        ("0 0 15W * *", "W (the nearest working day) is not supported: run on mon-fri, "),
        ("0 0 * * mon#1", "# (the nth weekday) is not supported: run every week, "),
        ("0 0 ? * *", "? is not supported: write * for any day."),
        ("R * * * *", "R (random) is not supported: write a number."),
        ("H * * * *", "H (hashed) is not supported: write a number."),
        ("H(0-29)/10 * * * *", "H (hashed) is not supported: "),
        ("60 * * * *", 'The minute "60" is out of range: write 0-59.'),
        ("0 24 * * *", 'The hour "24" is out of range: write 0-23.'),
        ("0 0 0 * *", 'The day of month "0" is out of range: write 1-31.'),
        ("0 0 * 13 *", 'The month "13" is out of range: write 1-12 or jan-dec.'),
        ("0 0 * * 8", 'The day of week "8" is out of range: write 0-7 or sun-sat.'),
        ("mar * * * *", 'The minute "mar" is refused: write *, or 0-59, with - for a range and / for '),
        ("0 0 * mon *", 'The month "mon" is refused: '),
        ("0 0 * * monday", 'The day of week "monday" is refused: write *, or 0-7 or sun-sat, with - '),
        ("1,,2 * * * *", 'The minute "" is refused: '),
        ("-5 * * * *", 'The minute "-5" is refused: '),
        ("1-2-3 * * * *", 'The minute "1-2-3" is refused: '),
        ("*-5 * * * *", 'The minute "*-5" is refused: '),
        ("1.5 * * * *", 'The minute "1.5" is refused: '),
        ("\u0661 * * * *", 'The minute "\u0661" is refused: '),
        ("*/0 * * * *", "The minute cannot go in steps of 0: write 1-60, or use an interval."),
        ("*/90 * * * *", "The minute cannot go in steps of 90: write 1-60, or use an interval."),
        ("0 0 31 2 *", 'The day of month "31" does not come in the month "2", not within 8 years. Choose'),
        ("0 0 30-31 feb *", 'The day of month "30-31" does not come in the month "feb", '),
        ("0 0 31 4,6,9,11 *", "does not come in the month"),
        (None, 'A cron expression is text such as "0 3 * * *", not a NoneType.'),
        (["0 0 * * *"], "not a list."),
    ],
)
def test_an_expression_is_refused_with_the_reason_and_a_hint(expression, reason):
    with pytest.raises(InvalidCron) as refusal:
        check(expression)

    assert reason in str(refusal.value)


def test_the_next_moment_of_a_refused_expression_is_refused_alike():
    with pytest.raises(InvalidCron, match="@reboot names no time"):
        next_time("@reboot", datetime(2025, 1, 1, tzinfo=UTC), UTC)


@given(st.text(max_size=40) | st.text("0123456789*/,-#?@ LWRHmonfeb", max_size=30))
def test_any_text_is_allowed_or_refused_and_nothing_else(expression):
    try:
        check(expression)
    except InvalidCron:
        return

    assert next_time(expression, datetime(2025, 1, 1, tzinfo=UTC), BERLIN) > datetime(2025, 1, 1, tzinfo=UTC)


# When schedules fire where clocks change.


@pytest.mark.parametrize(
    ("expression", "moments"),
    [
        # The hour field allows all hours: elapsed time.
        ("*/30 * * * *", ["30 01:30 +01", "30 03:00 +02", "30 03:30 +02", "30 04:00 +02"]),
        ("30 * * * *", ["30 01:30 +01", "30 03:30 +02", "30 04:30 +02"]),
        ("30 */1 * * *", ["30 01:30 +01", "30 03:30 +02"]),
        ("30 0-23 * * *", ["30 01:30 +01", "30 03:30 +02"]),
        ("30 12-11 * * *", ["30 01:30 +01", "30 03:30 +02"]),
        ("@hourly", ["30 03:00 +02", "30 04:00 +02"]),
        # Any other: what falls into the gap collapses to one right after it.
        ("30 2 * * *", ["30 03:00 +02", "31 02:30 +02"]),
        ("0 2 * * *", ["30 03:00 +02", "31 02:00 +02"]),
        ("0 2,3 * * *", ["30 03:00 +02", "31 02:00 +02"]),
        ("*/15 2 * * *", ["30 03:00 +02", "31 02:00 +02"]),
        ("*/15 1-2 * * *", ["30 01:15 +01", "30 01:30 +01", "30 01:45 +01", "30 03:00 +02", "31 01:00 +02"]),
        ("30 */2 * * *", ["30 03:00 +02", "30 04:30 +02"]),
        ("30 2 30 3 *", ["30 03:00 +02", "30 02:30 +02"]),
    ],
)
def test_where_the_clock_goes_forward(expression, moments):
    assert fires(expression, BERLIN, "2025-03-30T01:00", len(moments)) == moments


@pytest.mark.parametrize(
    ("expression", "moments"),
    [
        # The hour field allows all hours: elapsed time.
        ("*/30 * * * *", ["26 02:00 +02", "26 02:30 +02", "26 02:00 +01", "26 02:30 +01", "26 03:00 +01"]),
        ("30 * * * *", ["26 02:30 +02", "26 02:30 +01", "26 03:30 +01"]),
        ("30 0-23 * * *", ["26 02:30 +02", "26 02:30 +01"]),
        ("@hourly", ["26 02:00 +02", "26 02:00 +01", "26 03:00 +01"]),
        # Any other: a repeated moment at its first occurrence.
        ("30 2 * * *", ["26 02:30 +02", "27 02:30 +01"]),
        ("0 */2 * * *", ["26 02:00 +02", "26 04:00 +01"]),
        ("0 3 * * *", ["26 03:00 +01", "27 03:00 +01"]),
        ("*/30 2-3 * * *", ["26 02:00 +02", "26 02:30 +02", "26 03:00 +01", "26 03:30 +01", "27 02:00 +01"]),
        ("30 2 26 10 *", ["26 02:30 +02", "26 02:30 +01"]),
    ],
)
def test_where_the_clock_goes_back(expression, moments):
    assert fires(expression, BERLIN, "2025-10-26T01:30", len(moments)) == moments


def test_within_the_second_pass_of_a_repeated_hour_nothing_fires_again():
    second_pass = datetime(2025, 10, 26, 2, 10, fold=1, tzinfo=BERLIN)

    assert next_time("30 2 * * *", second_pass, BERLIN) == datetime(2025, 10, 27, 1, 30, tzinfo=UTC)


@pytest.mark.parametrize("expression", ["*/15 * * * *", "* * * * *", "*/5 0-23 * * *"])
@pytest.mark.parametrize("start", ["2025-03-29T22:00", "2025-10-25T22:00"])
def test_an_expression_of_all_hours_fires_evenly_through_a_clock_change(expression, start):
    moment = datetime.fromisoformat(start).replace(tzinfo=UTC)
    gaps = set()

    for _ in range(40):
        previous, moment = moment, next_time(expression, moment, BERLIN)
        gaps.add(moment - previous)

    assert len(gaps) == 1


def test_a_date_that_a_zone_left_out_collapses_to_the_start_of_the_next():
    apia = ZoneInfo("Pacific/Apia")  # crossed the date line: no 30 December 2011

    moments = fires("0 12 * * *", apia, "2011-12-29T11:00", 3)

    assert moments == ["29 12:00 -10", "31 00:00 +14", "31 12:00 +14"]


def test_an_hour_repeated_across_midnight_belongs_to_its_own_date():
    havana = ZoneInfo("America/Havana")  # 2 November 2025 at 1:00 back to 0:00

    daily = fires("0 0 * * *", havana, "2025-11-01T12:00", 2)
    hourly = fires("0 * 2 11 *", havana, "2025-11-01T12:00", 3)

    assert daily == ["02 00:00 -04", "03 00:00 -05"]
    assert hourly == ["02 00:00 -04", "02 00:00 -05", "02 01:00 -05"]


# The zones and days around which clocks change in unlike ways.
CHANGES = {
    "Europe/Berlin": ["2025-03-30", "2025-10-26"],
    "America/New_York": ["2025-03-09", "2025-11-02"],
    "Australia/Lord_Howe": ["2025-04-05", "2025-10-04"],  # by half an hour
    "Antarctica/Troll": ["2025-03-30", "2025-10-26"],  # by two hours
    "America/Havana": ["2025-03-09", "2025-11-02"],  # at midnight
    "America/St_Johns": ["2010-03-14", "2010-11-07"],  # one minute after midnight
    "Africa/Casablanca": ["2025-02-23", "2025-04-06"],  # back for Ramadan
    "Europe/Dublin": ["2025-03-30", "2025-10-26"],  # winter time is the exception
    "Pacific/Apia": ["2011-12-30"],  # by a day
    "Asia/Kathmandu": ["2025-01-01"],  # none
}
known_changes = st.sampled_from([(ZoneInfo(name), day) for name, days in CHANGES.items() for day in days])
any_day = st.dates(date(1995, 1, 1), date(2037, 1, 1)).map(date.isoformat)
cases = known_changes | st.tuples(st.timezones(), any_day)
offsets = st.integers(-40 * 60, 40 * 60)
seconds = st.integers(0, 59)
spreads = st.sets(st.integers(0, 59), min_size=1, max_size=4)
some_hours = st.sets(st.integers(0, 23), min_size=1, max_size=23)
some_days = st.none() | st.sets(st.integers(1, 31), min_size=20)
some_weekdays = st.none() | st.sets(st.integers(0, 6), min_size=4, max_size=6)


def spelled(values):
    return "*" if values is None else ",".join(map(str, values))


def date_matches(wall, days, weekdays):
    """Tell whether a date matches as cron has it: of two restricted day fields one is enough."""
    by_day = days is not None and wall.day in days
    by_weekday = weekdays is not None and wall.isoweekday() % 7 in weekdays
    return by_day or by_weekday or (days is None and weekdays is None)


def minutes_after(moment):
    first = moment.replace(second=0, microsecond=0) + MINUTE
    return (first + number * MINUTE for number in count())


@given(cases, offsets, seconds, spreads, some_days, some_weekdays)
def test_with_all_hours_each_minute_whose_clock_matches_fires(case, offset, second, minutes, days, weekdays):
    zone, day = case
    after = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=offset, seconds=second)

    def matches(moment):
        wall = moment.astimezone(zone)
        return wall.minute in minutes and date_matches(wall, days, weekdays)

    expected = next(moment for moment in minutes_after(after) if matches(moment))

    assert next_time(f"{spelled(minutes)} * {spelled(days)} * {spelled(weekdays)}", after, zone) == expected


@given(cases, offsets, seconds, spreads, some_hours, some_days, some_weekdays)
def test_otherwise_a_fire_is_when_the_clock_first_reaches_a_match(case, offset, second, minutes, hours, days, weekdays):
    zone, day = case
    after = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(minutes=offset, seconds=second)

    def matches(wall):
        return wall.minute in minutes and wall.hour in hours and date_matches(wall, days, weekdays)

    def reached_first(after):
        """Walk from long before, remembering the furthest that the clock has shown."""
        furthest = None
        for moment in minutes_after(after - timedelta(hours=30)):
            wall = moment.astimezone(zone).replace(tzinfo=None)
            furthest = furthest or wall - MINUTE
            while furthest < wall:
                furthest += MINUTE
                if matches(furthest) and moment > after:
                    return moment

    expression = f"{spelled(minutes)} {spelled(hours)} {spelled(days)} * {spelled(weekdays)}"

    assert next_time(expression, after, zone) == reached_first(after)


@given(
    st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 29 2 *", "@hourly", "15 */5 * * 1-5", "0 * 31 12 *"]),
    st.datetimes(datetime(2000, 1, 1), datetime(2090, 1, 1), timezones=st.timezones()),
    st.timezones(),
)
def test_the_next_moment_is_a_later_whole_minute_in_utc_and_the_first(expression, after, zone):
    moment = next_time(expression, after, zone)

    assert moment.tzinfo is UTC
    assert moment > after
    assert next_time(expression, moment - timedelta.resolution, zone) == moment


def test_a_fire_is_strictly_after_the_moment_given():
    midnight = datetime(2025, 1, 1, tzinfo=UTC)

    assert next_time("@daily", midnight - timedelta.resolution, UTC) == midnight
    assert next_time("@daily", midnight, UTC) == midnight + timedelta(days=1)


def test_the_zone_of_the_moment_given_does_not_matter():
    moment = datetime(2025, 7, 1, 12, tzinfo=UTC)
    elsewhere = moment.astimezone(ZoneInfo("Asia/Tokyo"))

    assert next_time("0 9 * * *", elsewhere, BERLIN) == next_time("0 9 * * *", moment, BERLIN)


def test_a_naive_moment_is_refused():
    with pytest.raises(ValueError, match=r"after must know its time zone.*use timezone\.now"):
        next_time("@daily", datetime(2025, 1, 1), BERLIN)


# Intervals.

ANCHOR = datetime(2025, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (ANCHOR - 5 * HOUR, ANCHOR),
        (ANCHOR - timedelta.resolution, ANCHOR),
        (ANCHOR, ANCHOR + HOUR),
        (ANCHOR + timedelta.resolution, ANCHOR + HOUR),
        (ANCHOR + HOUR, ANCHOR + 2 * HOUR),
        (ANCHOR + 100.5 * HOUR, ANCHOR + 101 * HOUR),
    ],
)
def test_an_interval_counts_from_its_anchor_and_never_fires_before(after, expected):
    assert next_interval(HOUR, ANCHOR, after) == expected


def test_an_interval_is_elapsed_time_where_clocks_change():
    anchor = datetime(2025, 3, 29, 12, tzinfo=BERLIN)

    assert next_interval(timedelta(days=1), anchor, anchor) == datetime(2025, 3, 30, 13, tzinfo=BERLIN)


@given(
    st.timedeltas(timedelta.resolution, timedelta(days=400)),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.timezones()),
    st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC)),
)
def test_an_interval_never_drifts(every, anchor, after):
    moment = next_interval(every, anchor, after)

    assert moment.tzinfo is UTC
    assert (moment - anchor) % every == timedelta(0)
    assert moment > after
    assert moment - every <= after or moment == anchor.astimezone(UTC)


@pytest.mark.parametrize("every", [timedelta(0), timedelta(seconds=-1)])
def test_an_interval_that_is_not_longer_than_zero_is_refused(every):
    with pytest.raises(ValueError, match="must be longer than zero"):
        next_interval(every, ANCHOR, ANCHOR)


@pytest.mark.parametrize(
    ("anchor", "after", "name"),
    [(ANCHOR.replace(tzinfo=None), ANCHOR, "anchor"), (ANCHOR, ANCHOR.replace(tzinfo=None), "after")],
)
def test_an_interval_of_naive_moments_is_refused(anchor, after, name):
    with pytest.raises(ValueError, match=f"{name} must know its time zone"):
        next_interval(HOUR, anchor, after)


# What people are told of an expression.


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("0 7 * * mon-fri", "0 7 * * 1,2,3,4,5", True),
        ("@daily", "0 0 * * *", True),
        ("*/1 * * * *", "* * * * *", True),
        ("0 7 * * *", "0 8 * * *", False),
    ],
)
def test_expressions_that_mean_the_same_are_the_same(one, other, same):
    assert is_same(one, other) is same


@pytest.mark.parametrize(
    ("expression", "either"), [("0 0 13 * fri", True), ("0 0 13 * *", False), ("0 0 */1 * fri", False)]
)
def test_two_day_fields_are_noticed(expression, either):
    assert has_either_day(expression) is either


@pytest.mark.parametrize(
    ("expression", "minutes"),
    [("*/20 * * * *", [0, 20, 40]), ("* 0-23 * * *", list(range(60))), ("0 7 * * *", []), ("0 * * * mon", [])],
)
def test_rules_of_every_hour_tell_their_minutes(expression, minutes):
    assert minutes_of_each_hour(expression) == minutes


@pytest.mark.parametrize(
    ("expression", "walls"),
    [("30 2 * * *", ["02:30", "02:30"]), ("0 7 * * *", [None, None]), ("*/20 * * * *", ["02:00", "02:00"])],
)
def test_clock_changes_are_told_with_the_time_that_they_touch(expression, walls):
    year = [datetime(2025, month, 1, tzinfo=UTC) for month in (1, 12)]

    changes = list(clock_changes(expression, *year, BERLIN))

    assert [one.at.isoformat()[:16] for one in changes] == ["2025-03-30T01:00", "2025-10-26T01:00"]
    assert [one.is_forward for one in changes] == [True, False]
    assert [one.wall and f"{one.wall:%H:%M}" for one in changes] == walls


def test_a_zone_that_is_not_known_is_refused_with_the_nearest():
    assert zone("Europe/Riga") == ZoneInfo("Europe/Riga")

    with pytest.raises(ValueError, match="Did you mean"):
        zone("Europe/Belrin")
