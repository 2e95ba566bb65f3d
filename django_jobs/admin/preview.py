"""What the form of a schedule shows beside it: the rule in words, the next runs, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.utils.translation import gettext, ngettext

from ..models import Schedule
from ..scheduler.preview import clashes, following, in_zone, offset_changes, remarks
from ..scheduler.words import sentence
from . import words
from .schedule_form import ScheduleForm

SHOWN = 5
# Without these there is no telling when it runs; any other mistake leaves the next runs as they are.
DECISIVE = {
    *("when", "every", "at", "weekdays", "monthdays", "cron", "once_at", "timezone"),
    *("starts_at", "ends_at", "max_runs", NON_FIELD_ERRORS),
}


@dataclass(frozen=True, kw_only=True)
class NextRun:
    """One of the next runs as it is shown."""

    moment: str
    away: str
    remark: str
    clash: str


class Preview:
    """The preview of a form, as it was posted or as it is stored."""

    def __init__(self, form: ScheduleForm, now: datetime):
        self._form = form
        self._now = now
        self.schedule: Schedule = form.instance

    @property
    def is_empty(self) -> bool:
        return not self._form.is_bound and self.schedule.pk is None

    @cached_property
    def errors(self) -> list[tuple[str, str]]:
        """What the server would refuse, as (label, message): the very errors of the form."""
        return [
            (self._label(name), str(message))
            for name, messages in self._errors.items()
            for message in messages
            if name not in self._empty
        ]

    @cached_property
    def missing(self) -> list[str]:
        """The labels of fields that are still to be filled in."""
        return [self._label(name) for name in self._empty]

    @property
    def _errors(self) -> dict[str, Any]:
        return self._form.errors if self._form.is_bound else {}

    @cached_property
    def _empty(self) -> list[str]:
        return [name for name in self._errors if self._form.has_error(name, "required")]

    def _label(self, name: str) -> str:
        return "" if name == NON_FIELD_ERRORS else str(self._form[name].label)

    @property
    def is_decided(self) -> bool:
        """Say whether what is filled in tells when it runs."""
        return not self.is_empty and not self._errors.keys() & DECISIVE

    @cached_property
    def sentence(self) -> str:
        return sentence(self.schedule) if self.is_decided else ""

    @property
    def is_off(self) -> bool:
        return not self.schedule.enabled

    @cached_property
    def remarks(self) -> list[str]:
        try:
            return remarks(self.schedule, self._now) if self.is_decided else []
        except ValueError:
            return []

    @cached_property
    def runs(self) -> list[NextRun]:
        if not self.is_decided:
            return []
        moments = self._moments()
        if not moments:
            return []
        set_before, others = offset_changes(self.schedule, moments), clashes(self.schedule, moments)
        return [
            NextRun(
                moment=in_zone(self.schedule, moment),
                away=words.ago(moment, self._now),
                remark=gettext("the clock has changed") if place in set_before else "",
                clash=_also(others.get(moment, [])),
            )
            for place, moment in enumerate(moments)
        ]

    def _moments(self) -> list[datetime]:
        try:
            return following(self.schedule, self.schedule.next_if_saved(self._now), self._now, SHOWN)
        except ValueError:  # a stored rule that is not valid any more
            return []


def _also(names: list[str]) -> str:
    if not names:
        return ""
    counted = ngettext("also at this time: %(count)s other schedule", "also at this time: %(count)s other schedules",
                       len(names)) % {"count": len(names)}  # fmt: skip
    return f"{counted} ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})"
