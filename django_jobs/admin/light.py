"""Reads jobs for lists: their big columns are left out, and their arguments where they are long."""

from __future__ import annotations

from collections.abc import Iterable

from django.db import models
from django.db.models import Case, F, When
from django.db.models.functions import Length

from ..models import DbNow, EncodedField, EncodedText, Job

SHORT = 4_000  # characters of encoded arguments
BIG = ("args", "kwargs", "return_value", "metadata", "context", "progress", "log")


def light(jobs: models.QuerySet) -> models.QuerySet:
    """Read the jobs so, with the present moment as ``now``; their arguments are for ``with_arguments``."""
    return (
        jobs.defer(*BIG)
        .alias(args_length=Length("args"), kwargs_length=Length("kwargs"))
        .annotate(now=DbNow(), short_args=_unless_long("args"), short_kwargs=_unless_long("kwargs"))
    )


def with_arguments(jobs: Iterable[Job]) -> list[Job]:
    """Return the jobs that were read by ``light``, their arguments put where they belong."""
    jobs = list(jobs)
    for job in jobs:
        job.args, job.kwargs = job.short_args or EncodedText(), job.short_kwargs or EncodedText()
    return jobs


def _unless_long(column: str) -> Case:
    return Case(When(**{f"{column}_length__lte": SHORT}, then=F(column)), output_field=EncodedField(null=True))
