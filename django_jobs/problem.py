"""One kind of mistake that a system check finds: how it is told, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.core import checks


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The texts of one check, with gaps for details."""

    id: str
    message: str
    hint: str

    def found(self, **details: Any) -> checks.CheckMessage:
        """Return the message for Django, its gaps filled."""
        kind = checks.Error if ".E" in self.id else checks.Warning
        return kind(self.message.format(**details), hint=self.hint.format(**details), id=self.id)


def problem(number: str, message: str, hint: str) -> Problem:
    return Problem(id=f"django_jobs.{number}", message=message, hint=hint)
