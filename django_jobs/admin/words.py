"""Small pieces of pages: moments, durations and states in words."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, pgettext

NOTHING = "–"
_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))  # up to two of a unit stay in the smaller one


def moment(when: datetime | None, now: datetime) -> SafeString | str:
    """Return "4 s ago" or "in 3 min", with the exact time on hover."""
    if when is None:
        return NOTHING
    return format_html(
        '<time class="dj-time" datetime="{}" title="{}">{}</time>', when.isoformat(), exact(when), ago(when, now)
    )


def exact(when: datetime) -> str:
    """Return a moment to the second, with its zone."""
    return localtime(when).strftime("%Y-%m-%d %H:%M:%S %Z")


def ago(when: datetime, now: datetime) -> str:
    """Return how far away a moment is."""
    seconds = round((now - when).total_seconds())
    if seconds < 0:
        return gettext("in %(length)s") % {"length": rough(-seconds)}
    return gettext("%(length)s ago") % {"length": rough(seconds)}


def rough(seconds: float) -> str:
    """Return a length of time in one unit."""
    unit, size = next((one for one in _UNITS if seconds >= 2 * one[1]), _UNITS[-1])
    return f"{int(seconds // size)} {_unit(unit)}"


def took(length: timedelta | None) -> str:
    """Return how long something took, with the precision that matters."""
    if length is None:
        return ""
    seconds = max(0.0, length.total_seconds())
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 120 else rough(seconds)


def _unit(unit: str) -> str:
    match unit:
        case "d":
            return pgettext("unit of time", "d")
        case "h":
            return pgettext("unit of time", "h")
        case "min":
            return pgettext("unit of time", "min")
    return pgettext("unit of time", "s")


def badge(kind: str, label: object) -> SafeString:
    """Return a state as a word with its colour."""
    return format_html('<span class="dj-state dj-state-{}">{}</span>', kind, label)


def labelled(label: object, content: object) -> SafeString:
    """Return a cell that says what it is where a phone hides the head of its column."""
    return format_html('<span class="dj-label">{}</span> {}', label, content)


def two_lines(first: object, second: object, kind: str = "quiet") -> SafeString:
    """Return a cell with a quieter line, or one of another kind, below the first."""
    if not second:
        return format_html('<span class="dj-first">{}</span>', first)
    return format_html('<span class="dj-first">{}</span> <span class="dj-second dj-{}">{}</span>', first, kind, second)
