"""What the encoding carries, what it refuses and in which words, and what it makes of damaged text."""

import json
import sys
from collections import OrderedDict, namedtuple
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from django.utils.datastructures import MultiValueDict
from django.utils.functional import SimpleLazyObject, lazystr
from hypothesis import given
from hypothesis import strategies as st

from django_jobs.codec import MAX_DIGITS, MAX_LEVELS, dumps, loads
from django_jobs.exceptions import NotDecodable, NotEncodable

BERLIN = ZoneInfo("Europe/Berlin")


class Colour(Enum):
    RED = "red"


class Size(IntEnum):
    BIG = 3


class Mood(StrEnum):
    GOOD = "good"


class Order:
    """Looks like a model instance to anyone who asks for ``_meta`` and ``pk``."""

    _meta = "options"
    pk = 7


Order.__module__ = "shop.models"


class Shout(str):
    def __str__(self):
        return self.upper()


class Offset(float):
    pass


class FrozenDatetime(datetime):
    """As those that freezegun puts in the place of datetime."""


class NotATime(datetime):
    """As pandas' NaT, which says it is a datetime."""

    def isoformat(self, *args):
        return "NaT"


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def refusal_of(value):
    with pytest.raises(NotEncodable) as caught:
        dumps(value)
    return caught.value


# What is carried.


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (1, "1"),
        (2**80, str(2**80)),
        (-0.0, "-0.0"),
        (1e22, "1e+22"),
        ("", '""'),
        ("é\0\ud800", '"\\u00e9\\u0000\\ud800"'),
        ([1, "abc", {"a": 2}], '[1,"abc",{"a":2}]'),
        ({"b": 1, "a": 2}, '{"b":1,"a":2}'),
        (Decimal("1.50"), '{"$type":"decimal","value":"1.50"}'),
        (datetime(2025, 1, 2, 3, 4, 5), '{"$type":"datetime","value":"2025-01-02T03:04:05"}'),
        (date(2025, 1, 2), '{"$type":"date","value":"2025-01-02"}'),
        (time(3, 4), '{"$type":"time","value":"03:04:00"}'),
        (timedelta(days=1, seconds=2), '{"$type":"timedelta","value":"P1DT00H00M02S"}'),
        (UUID(int=1), '{"$type":"uuid","value":"00000000-0000-0000-0000-000000000001"}'),
        ({"$type": "decimal"}, '{"$type":"dict","value":[["$type","decimal"]]}'),
    ],
)
def test_a_value_is_written_as_ascii_json_and_read_back_the_same(value, text):
    written = dumps(value)
    read = loads(written)

    assert written == text
    assert type(read) is type(value)
    assert repr(read) == repr(value)


@pytest.mark.parametrize(
    ("value", "carried"),
    [
        ((1, (2,)), [1, [2]]),
        (namedtuple("Point", "x y")(1, 2), [1, 2]),
        (OrderedDict(a=1), {"a": 1}),
        (MultiValueDict({"a": ["1", "2"]}), {"a": ["1", "2"]}),
        (Size.BIG, 3),
        (Mood.GOOD, "good"),
        (Shout("quiet"), "quiet"),
        (Offset(1.5), 1.5),
        (lazystr("later"), "later"),
        ({Mood.GOOD: 1, Shout("key"): 2}, {"good": 1, "key": 2}),
        ([Size.BIG, {"a": lazystr("b")}], [3, {"a": "b"}]),
        (FrozenDatetime(2025, 1, 2), datetime(2025, 1, 2)),
    ],
)
def test_a_value_of_a_richer_type_is_carried_as_the_plain_one(value, carried):
    read = loads(dumps(value))

    assert read == carried
    assert type(read) is type(carried)


def test_an_aware_datetime_keeps_its_offset():
    second_pass = datetime(2025, 10, 26, 2, 30, fold=1, tzinfo=BERLIN)

    read = loads(dumps(second_pass))

    assert read.isoformat() == "2025-10-26T02:30:00+01:00"


def joined(text):
    """Return ``text`` with each pair of surrogates replaced by the character that it means."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


def without_fold(moment):
    return moment.replace(fold=0)  # ISO 8601 has no place for it


plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
odd_texts = st.text(st.characters(categories=["Cs", "Cc"]))
texts = (st.text() | odd_texts).filter(lambda text: text == joined(text))
offsets = st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds)))
tagged = (
    st.decimals(allow_nan=False, allow_infinity=False)
    | st.datetimes(timezones=st.none() | offsets).map(without_fold)
    | st.dates()
    | st.times(timezones=st.none() | offsets).map(without_fold)
    | st.timedeltas()
    | st.uuids()
)
keys = texts | st.sampled_from(["$type", "value"])
values = st.recursive(
    plain | texts | tagged,
    lambda inner: st.lists(inner) | st.dictionaries(keys, inner),
    max_leaves=20,
)


@given(values)
def test_whatever_is_written_is_ascii_json_and_is_read_back_the_same(value):
    written = dumps(value)
    read = loads(written)

    assert written.isascii()
    assert read == value
    assert repr(read) == repr(value)


@given(values)
def test_writing_leaves_the_value_as_it_was(value):
    before = repr(value)

    dumps(value)

    assert repr(value) == before


@given(st.datetimes(timezones=st.timezones()))
def test_a_datetime_of_any_zone_is_carried_as_the_same_moment(value):
    read = loads(dumps(value))

    assert read.replace(tzinfo=None) == value.replace(tzinfo=None)
    assert read.utcoffset() == value.utcoffset()


def test_a_pair_of_surrogates_is_read_back_as_the_character_that_it_means():
    assert loads(dumps("\ud83d\ude00")) == "\U0001f600"


def test_a_value_that_stands_in_two_places_is_no_circle():
    shared = [1]

    assert loads(dumps({"a": shared, "b": [shared, shared]})) == {"a": [1], "b": [[1], [1]]}


# What is refused.


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Order(), "is a shop.models.Order. Jobs carry JSON: pass its pk and load it in the task."),
        (SimpleLazyObject(Order), "is a shop.models.Order. Jobs carry JSON: "),
        (Order, "is a type, which JSON cannot carry. "),
        (float("nan"), "is nan. JSON has no such number: pass None or text."),
        (Offset("-inf"), "is -inf. JSON has no such number: pass None or text."),
        (Decimal("NaN"), "is the decimal NaN. Only finite numbers fit: pass None or text."),
        (Decimal("Infinity"), "is the decimal Infinity. "),
        ({1, 2}, "is a set. JSON has no sets: pass sorted(values) or list(values)."),
        (frozenset(), "is a frozenset. JSON has no sets: "),
        (b"abc", "is a bytes. JSON carries text: decode it, pass base64, "),
        (bytearray(), "is a bytearray. JSON carries text: "),
        (
            Colour.RED,
            f"is {__name__}.Colour.RED, an enum member. Pass its value and look it up in the task.",
        ),
        (object(), "is an object, which JSON cannot carry. Pass text, numbers, lists and dicts, "),
        (1j, "is a complex, which JSON cannot carry. "),
        (SimpleLazyObject(lambda: "text"), "is a django.utils.functional.SimpleLazyObject, which JSON "),
        (time(12, tzinfo=BERLIN), "is a time in Europe/Berlin, whose offset from UTC "),
        (NotATime(2025, 1, 1), f"is a {__name__}.NotATime, which JSON cannot carry. "),
        ({3: "a"}, "has the key 3, an int. JSON has only text keys: use str(key), or pass a list of pairs."),
        ({None: "a"}, "has the key None, a NoneType. "),
        ({True: "a"}, "has the key True, a bool. "),
    ],
)
def test_a_value_that_json_cannot_carry_is_refused_in_words_that_say_what_to_do(value, message):
    refusal = refusal_of(value)

    assert str(refusal).startswith(message)
    assert refusal.path == ()


@pytest.mark.parametrize(
    ("value", "path", "culprit"),
    [
        ({"order": b"x"}, ("order",), b"x"),
        ([1, {"rows": ({"a": 1}, {"a": {2}})}], (1, "rows", 1, "a"), {2}),
        ({"$type": [b"x"]}, ("$type", 0), b"x"),
        ({"rows": [{3: "a"}]}, ("rows", 0), 3),
    ],
)
def test_a_refusal_leads_to_the_culprit(value, path, culprit):
    refusal = refusal_of(value)

    assert refusal.path == path
    assert refusal.value == culprit


def test_a_list_that_contains_itself_is_refused_as_such():
    circular = {"rows": [1]}
    circular["rows"].append(circular)

    refusal = refusal_of(["first", circular])

    assert str(refusal) == "contains itself. Pass a copy without the reference back."
    assert refusal.path == (1, "rows", 1)
    assert refusal.value is circular


def test_a_querydict_like_that_contains_itself_is_refused_as_such():
    circular = MultiValueDict()
    circular.setlist("a", [circular, "last"])

    assert refusal_of(circular).path == ("a", 0)


def test_the_deepest_value_allowed_is_carried():
    value = nested(MAX_LEVELS)

    assert loads(dumps(value)) == value


@pytest.mark.parametrize("levels", [MAX_LEVELS + 1, 2_000, 100_000])
def test_deeper_nesting_is_refused(levels):
    refusal = refusal_of(nested(levels))

    assert str(refusal).startswith("is nested more than 100 levels deep. ")
    assert len(refusal.path) == MAX_LEVELS


def test_dicts_that_need_wrapping_are_carried_to_the_same_depth():
    value = None
    for _ in range(MAX_LEVELS):
        value = {"$type": value}

    assert loads(dumps(value)) == value


def test_a_caller_that_used_up_the_stack_gets_a_refusal():
    def dumps_from_below(frames):
        return dumps_from_below(frames - 1) if frames else dumps(nested(MAX_LEVELS))

    with pytest.raises(NotEncodable, match="nested too deeply"):
        for frames in range(0, sys.getrecursionlimit(), 20):
            dumps_from_below(frames)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_too_long_to_be_read_back_is_refused(sign):
    refusal = refusal_of(sign * 10**MAX_DIGITS)

    assert str(refusal).startswith("is a whole number of more than 4,300 digits, which Python ")


def test_a_key_too_long_to_be_shown_is_refused_too():
    assert "has the key ..., an int. " in str(refusal_of({10**5000: "a"}))


def test_the_longest_number_allowed_is_carried():
    number = 10**MAX_DIGITS - 1

    assert loads(dumps(-number)) == -number


def test_a_process_with_a_lower_limit_of_digits_refuses_what_it_cannot_write():
    before = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(700)

    try:
        refusal = refusal_of([10**700])
    finally:
        sys.set_int_max_str_digits(before)

    assert "more than 700 digits" in str(refusal)
    assert refusal.path == (0,)


# What is read.


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1",
        "[1] 2",
        "NaN",
        "[-Infinity]",
        pytest.param("1" * 5000, id="a number of 5,000 digits"),
        pytest.param("[" * 100_000, id="100,000 levels"),
        '{"$type":"money","value":"1"}',
        '{"$type":"decimal"}',
        '{"$type":"decimal","value":"1","more":1}',
        '{"$type":"decimal","value":1}',
        '{"$type":"decimal","value":"one"}',
        '{"$type":"decimal","value":"NaN"}',
        '{"$type":"datetime","value":"yesterday"}',
        '{"$type":"date","value":"2025-02-31"}',
        '{"$type":"time","value":"25:00"}',
        '{"$type":"timedelta","value":"soon"}',
        '{"$type":"uuid","value":"1"}',
        '{"$type":"dict","value":{}}',
        '{"$type":"dict","value":[["a"]]}',
        '{"$type":"dict","value":[[1,2]]}',
        '{"$type":"dict","value":[[[],2]]}',
        '{"$type":["decimal"],"value":"1"}',
        '{"$type":null}',
    ],
)
def test_text_of_another_encoding_is_refused(text):
    with pytest.raises(NotDecodable):
        loads(text)


def test_an_unknown_tag_is_named():
    with pytest.raises(NotDecodable, match=r"'money'.*newer version"):
        loads('[{"$type":"money","value":"1.50"}]')


@given(st.text() | st.text('{}[]",:$typevalu0123 '))
def test_damaged_text_is_read_or_refused_and_nothing_else(text):
    with suppress(NotDecodable):
        loads(text)


@given(st.sampled_from(["decimal", "datetime", "date", "time", "timedelta", "uuid", "dict"]), values)
def test_a_damaged_tag_is_read_or_refused_and_nothing_else(tag, value):
    text = json.dumps({"$type": tag, "value": value}, default=str)

    with suppress(NotDecodable):
        loads(text)


def test_moments_in_utc_stay_in_utc():
    assert loads(dumps(datetime(2025, 1, 1, tzinfo=UTC))).tzinfo is UTC
