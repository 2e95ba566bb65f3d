"""Reads jobs for lists: their big columns are left out, and their arguments where they are long."""

from __future__ import annotations

from django.db import models
from django.db.models import Case, F, When
from django.db.models.functions import Length

from ..models import DbNow, EncodedField, EncodedText, Job

SHORT = 4_000  # characters of encoded arguments
BIG = ("args", "kwargs", "return_value", "metadata", "context", "progress", "log")


def light(jobs: models.QuerySet) -> list[Job]:
    """Return the jobs with the present moment as ``now``."""
    sizes = {"args_length": Length("args"), "kwargs_length": Length("kwargs")}
    short = {"short_args": _unless_long("args"), "short_kwargs": _unless_long("kwargs")}
    found = list(jobs.defer(*BIG).alias(**sizes).annotate(now=DbNow(), **short))
    for job in found:
        job.args, job.kwargs = job.short_args or EncodedText(), job.short_kwargs or EncodedText()
    return found


def _unless_long(column: str) -> Case:
    return Case(When(**{f"{column}_length__lte": SHORT}, then=F(column)), output_field=EncodedField(null=True))
