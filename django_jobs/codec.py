"""Turns arguments and results into ASCII JSON text and back, without losing or guessing anything.

What JSON lacks is tagged, ``{"$type": "decimal", "value": "1.50"}``, so a dict of the user's that holds
the key ``$type`` is itself wrapped: ``{"$type": "dict", "value": [[key, value], ...]}``.
"""

from __future__ import annotations

import json
import reprlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from functools import partial
from math import isfinite
from types import NoneType
from typing import Any, NoReturn
from uuid import UUID

from django.utils.dateparse import parse_duration
from django.utils.duration import duration_iso_string
from django.utils.functional import Promise

from .exceptions import NotDecodable, NotEncodable

TYPE_KEY = "$type"
MAX_LEVELS = 100  # a level takes up to three stack frames, and the caller needs some of Python's 1,000
MAX_DIGITS = 4_300  # of a whole number: what Python reads and writes unless told otherwise


def dumps(value: Any) -> str:
    """Return the ASCII JSON text that carries ``value``.

    Tuples become lists; members of IntEnum and StrEnum, and other subclasses of str, int and float,
    become plain values; lazy translations become text in the active language. What ISO 8601 leaves out
    is not carried: a zone's name (its offset is) and ``fold``. Raise ``NotEncodable`` for any other type
    and for what is too deep, too long or circular; its message reads on from "argument 'x' ".
    """
    try:
        return _encode(_carrier(value)(value, 0))
    except _TooDeep as refusal:
        raise _too_deep_or_circular(value, refusal) from None
    except RecursionError:
        raise NotEncodable("is nested too deeply for the rest of Python's stack.", value=value) from None


def escaped(text: str) -> str:
    """Return text that every database takes: escaped where it is not plain Unicode."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


def loads(text: str) -> Any:
    """Return the value that ``dumps`` wrote as ``text``, or raise ``NotDecodable``."""
    decode = _decode_tagged if _QUOTED_TYPE_KEY in text else _decode_plain
    try:
        return decode(text)
    except NotDecodable:
        raise
    except (ValueError, RecursionError) as error:
        raise NotDecodable(f"The stored text cannot be read: {error}.") from error


class EncodedText(str):
    """Text as it stands in the database, not decoded yet."""

    __slots__ = ()


# Writing: one walk that returns what the C encoder can take blindly.


def _carry(value, level: int, step):
    """Return what JSON carries for ``value``, found at ``step`` (a key or an index) inside a container."""
    try:
        return _carrier(value)(value, level)
    except NotEncodable as refusal:
        refusal.path = (step, *refusal.path)
        raise


def _carrier(value) -> Callable:
    return _CARRIERS.get(type(value)) or _inherited_carrier(value)


def _inherited_carrier(value) -> Callable:
    # The type's own line of descent: isinstance() would believe a lazy object that claims to be a str.
    for base in type(value).__mro__:
        if base in _CARRIERS:
            return _CARRIERS[base]
    _refuse(value)


def _carry_as_is(value, level):
    return value


def _carry_str(value, level):
    return str.__str__(value)  # not str(value), which a subclass may have changed


def _carry_int(value, level):
    value = int.__int__(value)
    if not -_SURELY_WRITABLE < value < _SURELY_WRITABLE:
        _check_digits(value)
    return value


def _carry_float(value, level):
    value = float.__float__(value)
    if not isfinite(value):
        raise NotEncodable(f"is {value}. JSON has no such number: pass None or text.", value=value)
    return value


def _carry_list(value, level):
    if level == MAX_LEVELS:
        raise _TooDeep(value)
    return [item if type(item) in _AS_IS else _carry(item, level + 1, index) for index, item in enumerate(value)]


def _carry_dict(value, level):
    if level == MAX_LEVELS:
        raise _TooDeep(value)
    carried = {}
    for key, item in dict.items(value):  # a QueryDict's own items() leaves out all but the last values
        if type(key) is not str:
            key = _text_key(key)
        carried[key] = item if type(item) in _AS_IS else _carry(item, level + 1, key)
    if TYPE_KEY in carried:
        return {TYPE_KEY: "dict", "value": list(carried.items())}
    return carried


def _carry_promise(value, level):
    return str.__str__(str(value))


def _carry_tagged(tag: _Tag, value, level):
    text = tag.write(value)
    if type(value) is not tag.kind and not _is_stable(tag, text):
        _refuse(value)
    return {TYPE_KEY: tag.name, "value": text}


def _is_stable(tag: _Tag, text: str) -> bool:
    """Tell whether ``text`` survives being read, which that of pandas' NaT or nanoseconds does not."""
    try:
        return tag.write(tag.read(text)) == text
    except (ValueError, ArithmeticError):
        return False


def _text_key(key) -> str:
    if isinstance(key, str):
        return str.__str__(key)
    raise NotEncodable(
        f"has the key {_shown(key)}, {_a(type(key))}. JSON has only text keys: use str(key), or pass a list of pairs.",
        value=key,
    )


def _check_digits(value: int) -> None:
    digits = min(MAX_DIGITS, sys.get_int_max_str_digits() or MAX_DIGITS)
    if abs(value) >= 10**digits:
        raise NotEncodable(
            f"is a whole number of more than {digits:,} digits, which Python does not read back. "
            "Pass it as text, such as hex(number).",
            value=value,
        )


# Writing: the types that need a tag.


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise NotEncodable(f"is the decimal {value}. Only finite numbers fit: pass None or text.", value=value)
    return Decimal.__str__(value)


def _write_clock(value: datetime | time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise NotEncodable(
            f"is a {type(value).__name__} in {value.tzinfo}, whose offset from UTC is not known without "
            "a date. Pass a datetime, or the plain time and the zone's name.",
            value=value,
        )
    return value.isoformat()


def _read_timedelta(text: str) -> timedelta:
    duration = parse_duration(text)
    if duration is None:
        raise ValueError(f"not a duration: {_shown(text)}")
    return duration


def _read_decimal(text: str) -> Decimal:
    value = Decimal(text)
    if not value.is_finite():
        raise ValueError(f"not a finite number: {text}")
    return value


class _Result:
    """Stands in the arguments of a job for what the job before it returns."""

    def __repr__(self) -> str:
        return "RESULT"


RESULT: Any = _Result()  # Any, so that type checkers take it for whatever the function wants


@dataclass(frozen=True, kw_only=True)
class _Tag:
    """A type that JSON lacks, and how it is written as text and read."""

    name: str
    kind: type
    write: Callable[[Any], str]
    read: Callable[[str], Any]


_TAGS = (
    _Tag(name="decimal", kind=Decimal, write=_write_decimal, read=_read_decimal),
    _Tag(name="datetime", kind=datetime, write=_write_clock, read=datetime.fromisoformat),
    _Tag(name="date", kind=date, write=lambda value: value.isoformat(), read=date.fromisoformat),
    _Tag(name="time", kind=time, write=_write_clock, read=time.fromisoformat),
    _Tag(name="timedelta", kind=timedelta, write=duration_iso_string, read=_read_timedelta),
    _Tag(name="uuid", kind=UUID, write=UUID.__str__, read=UUID),
    _Tag(name="result", kind=_Result, write=lambda value: "", read=lambda text: RESULT),
)

_AS_IS = frozenset({str, bool, NoneType})

_CARRIERS: dict[type, Callable] = {
    str: _carry_str,
    bool: _carry_as_is,
    NoneType: _carry_as_is,
    int: _carry_int,
    float: _carry_float,
    list: _carry_list,
    tuple: _carry_list,
    dict: _carry_dict,
    Promise: _carry_promise,
    **{tag.kind: partial(_carry_tagged, tag) for tag in _TAGS},
}

# The lowest limit that Python can be given, so that a number below it needs no further look.
_SURELY_WRITABLE = 10**sys.int_info.str_digits_check_threshold

_encode = json.JSONEncoder(
    ensure_ascii=True,
    check_circular=False,  # the walk has bounded the depth
    allow_nan=False,
    separators=(",", ":"),
).encode


# Writing: saying no.


def _refuse(value) -> NoReturn:
    """Raise ``NotEncodable`` with what ``value`` is and what to pass instead."""
    raise NotEncodable(f"is {_described(value)}", value=value)


def _described(value) -> str:
    if _is_model_instance(value):
        return f"{_a(value.__class__)}. Jobs carry JSON: pass its pk and load it in the task."
    if isinstance(value, Enum):
        return f"{_name(type(value))}.{value.name}, an enum member. Pass its value and look it up in the task."
    for kind, hint in _HINTS.items():
        if isinstance(value, kind):
            return f"{_a(type(value))}. {hint}"
    return (
        f"{_a(type(value))}, which JSON cannot carry. Pass text, numbers, lists and dicts, and rebuild it in the task."
    )


def _is_model_instance(value) -> bool:
    return not isinstance(value, type) and hasattr(value, "_meta") and hasattr(value, "pk")


_HINTS = {
    (set, frozenset): "JSON has no sets: pass sorted(values) or list(values).",
    (bytes, bytearray, memoryview): "JSON carries text: decode it, pass base64, or store it and pass where.",
}


class _TooDeep(NotEncodable):
    def __init__(self, value):
        message = f"is nested more than {MAX_LEVELS} levels deep. Pass flatter data, or store it and pass where."
        super().__init__(message, value=value)


def _too_deep_or_circular(outermost, refusal: _TooDeep) -> NotEncodable:
    """Return the refusal to raise: of the first container on its path that stands inside itself, if any."""
    value, passed = outermost, []
    for level, step in enumerate(refusal.path, start=1):
        passed.append(id(value))
        value = dict.__getitem__(value, step) if isinstance(value, dict) else value[step]
        if id(value) in passed:
            message = "contains itself. Pass a copy without the reference back."
            return NotEncodable(message, path=refusal.path[:level], value=value)
    return refusal


def _a(kind: type) -> str:
    name = _name(kind)
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def _name(kind: type) -> str:
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _shown(value) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # a whole number of too many digits
        return "..."


# Reading: the C scanner alone, unless some tag stands in the text.


def _read_object(found: dict) -> Any:
    if TYPE_KEY not in found:
        return found
    match found:
        case {"$type": "dict", "value": list(pairs), **others} if not others:
            return _read_with(_read_dict, "dict", pairs)
        case {"$type": str(tag), "value": str(text), **others} if tag in _READERS and not others:
            return _read_with(_READERS[tag], tag, text)
    raise NotDecodable(
        f"The stored text holds the tag {_shown(found[TYPE_KEY])} in a form that is unknown here: it was "
        "written by a newer version, or changed by hand. Update this process, or mend the text."
    )


def _read_with(read: Callable, tag: str, value):
    try:
        return read(value)
    except (ValueError, TypeError, ArithmeticError) as error:
        raise NotDecodable(f"The stored text holds a damaged {tag}: {_shown(value)}.") from error


def _read_dict(pairs: list) -> dict:
    found = {key: item for key, item in pairs}
    if not all(isinstance(key, str) for key in found):
        raise TypeError("keys are text")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise NotDecodable(f"The stored text holds {name}, which is not JSON: it was not written by django_jobs.")


_READERS = {tag.name: tag.read for tag in _TAGS}
_QUOTED_TYPE_KEY = f'"{TYPE_KEY}"'

_decode_plain = json.JSONDecoder(parse_constant=_refuse_constant).decode
_decode_tagged = json.JSONDecoder(parse_constant=_refuse_constant, object_hook=_read_object).decode
