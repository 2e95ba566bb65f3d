"""Rolls counters up, from minutes to hours, and deletes those that are kept no longer."""

from __future__ import annotations

from collections import Counter as Sums
from datetime import UTC, timedelta

from django.db import transaction

from ..conf import jobs_settings, seconds
from ..models import Counter, DbNow, database, db_now
from ..models.counter import HOUR, MINUTE, Cell
from ..sql import statements

KEEP_MINUTES = timedelta(hours=3)
CHUNK = 5000  # rows of one transaction


def roll_up() -> int:
    """Add old minutes to their hours and delete what is over; return how many rows went."""
    return roll_minutes() + prune_hours()


def roll_minutes() -> int:
    """Add a chunk of old minutes to their hours; rows that somebody else has locked are left out."""
    alias = database()
    old = Counter.objects.using(alias).filter(seconds=MINUTE, since__lt=db_now() - KEEP_MINUTES)
    if not old.exists():
        return 0
    with transaction.atomic(using=alias):
        minutes = list(old.order_by("since").select_for_update(skip_locked=True)[:CHUNK])
        hours: Sums[Cell] = Sums()
        for one in minutes:
            hour = one.since.astimezone(UTC).replace(minute=0)
            hours[Cell(hour, HOUR, one.queue_name, one.kind, one.bucket)] += one.count
        statements(alias).add_counts(alias, hours)
        Counter.objects.using(alias).filter(pk__in=[one.pk for one in minutes])._raw_delete(alias)
    return len(minutes)


def prune_hours() -> int:
    """Delete a chunk of hours older than KEEP_COUNTERS; return how many."""
    keep = seconds(jobs_settings.KEEP_COUNTERS)
    if keep is None:
        return 0
    alias = database()
    over = Counter.objects.using(alias).filter(seconds=HOUR, since__lt=DbNow() - timedelta(seconds=keep))
    keys = list(over.values_list("pk", flat=True)[:CHUNK])
    return Counter.objects.using(alias).filter(pk__in=keys)._raw_delete(alias) if keys else 0
