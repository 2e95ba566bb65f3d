"""When a schedule runs, as people say it: every so often, daily, weekly, monthly, by cron, or once."""

from __future__ import annotations

import re
from datetime import time
from typing import Any

from django.utils.dates import WEEKDAYS
from django.utils.translation import gettext_lazy as _

from .. import cron
from ..exceptions import InvalidCron
from ..models import Schedule

KINDS = [
    ("every", _("Every so many minutes, hours or days")),
    ("daily", _("Every day at a time")),
    ("weekly", _("Every week, on some days")),
    ("monthly", _("Every month, on some days")),
    ("cron", _("By a cron expression")),
    ("once", _("Once")),
]
COLUMNS = {"every": "every", "once": "once_at"}  # the column that a kind sets; the others set cron
NEEDS = {  # the fields that a kind is made of, and what to say when one is empty
    "every": {"every": _("Say how often: a number and a unit.")},
    "daily": {"at": _("Choose the time.")},
    "weekly": {"at": _("Choose the time."), "weekdays": _("Choose at least one day of the week.")},
    "monthly": {"at": _("Choose the time."), "monthdays": _("Write at least one day of the month, such as 1.")},
    "cron": {"cron": _("Write a cron expression, such as 0 7 * * mon-fri.")},
    "once": {"once_at": _("Choose the day and the time.")},
}
WEEKDAY_CHOICES = [
    (str((day + 1) % 7), WEEKDAYS[day]) for day in range(7)
]  # cron's Sunday is 0; a week begins on Monday

_NUMBER, _LIST = r"(\d+)", r"([\d,]+)"
_SHAPES = {
    "daily": re.compile(rf"{_NUMBER} {_NUMBER} \* \* \*"),
    "weekly": re.compile(rf"{_NUMBER} {_NUMBER} \* \* {_LIST}"),
    "monthly": re.compile(rf"{_NUMBER} {_NUMBER} {_LIST} \* \*"),
}


def kind_of(schedule: Schedule) -> str:
    """Return the plainest kind that can show the schedule's rule."""
    if schedule.every is not None:
        return "every"
    return "once" if schedule.once_at else next(iter(_parts(schedule.cron)), "cron")


def parts_of(schedule: Schedule) -> dict[str, Any]:
    """Return what the fields show of a daily, weekly or monthly rule: at, weekdays and monthdays."""
    for kind, (minute, hour, *days) in _parts(schedule.cron).items():
        found: dict[str, Any] = {"at": time(int(hour), int(minute))}
        if kind == "weekly":
            found["weekdays"] = days[0].split(",")
        if kind == "monthly":
            found["monthdays"] = days[0].replace(",", ", ")
        return found
    return {}


def _parts(expression: str) -> dict[str, tuple[str, ...]]:
    try:
        text = cron.spelled(expression)
    except InvalidCron:
        return {}
    return {kind: found.groups() for kind, shape in _SHAPES.items() if (found := shape.fullmatch(text))}


def cron_of(kind: str, values: dict[str, Any]) -> str:
    """Return the cron expression of a daily, weekly or monthly rule."""
    at = f"{values['at'].minute} {values['at'].hour}"
    match kind:
        case "weekly":
            return f"{at} * * {','.join(sorted(values['weekdays']))}"
        case "monthly":
            return f"{at} {','.join(map(str, values['monthdays']))} * *"
    return f"{at} * * *"
