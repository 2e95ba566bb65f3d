"""Counter: what became of jobs by the minute and queue, kept after the jobs themselves are gone."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .database import Manager

MINUTE, HOUR = 60, 3600  # seconds that a counter covers


class Counter(models.Model):
    """How many attempts of a queue ended in one way, or took about so long, within a minute or an hour."""

    class Kind(models.TextChoices):
        SUCCEEDED = "succeeded", pgettext_lazy("counter", "succeeded")
        FAILED = "failed", pgettext_lazy("counter", "failed")
        RETRIED = "retried", pgettext_lazy("counter", "to be retried")
        CANCELLED = "cancelled", pgettext_lazy("counter", "cancelled")
        WAIT = "wait", pgettext_lazy("counter", "waiting time")
        RUN = "run", pgettext_lazy("counter", "run time")

    OUTCOMES = (Kind.SUCCEEDED, Kind.FAILED, Kind.RETRIED, Kind.CANCELLED)

    since = models.DateTimeField()  # the beginning of the minute or hour
    seconds = models.IntegerField()  # MINUTE or HOUR
    queue_name = models.CharField(max_length=64)
    kind = models.CharField(max_length=9, choices=Kind.choices)
    bucket = models.SmallIntegerField(default=0)  # of the histogram, for waiting and run times
    count = models.BigIntegerField(default=0)

    objects = Manager()

    class Meta:
        verbose_name = _("counter")
        verbose_name_plural = _("counters")
        constraints = [
            models.UniqueConstraint(fields=["seconds", "since", "queue_name", "kind", "bucket"], name="dj_counter_cell")
        ]

    def __str__(self) -> str:
        return f"{self.since:%Y-%m-%d %H:%M} {self.queue_name} {self.kind}: {self.count}"


class Cell(NamedTuple):
    """What a counter counts: its columns but the count, in the order in which rows are locked."""

    since: datetime
    seconds: int
    queue_name: str
    kind: str
    bucket: int
