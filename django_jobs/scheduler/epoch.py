"""The epoch: a word that Redis and the database share; where they differ, Redis lost something."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import BooleanField, ExpressionWrapper, Q

from ..ids import job_id
from ..models import DbNow, Meta, database

KEY = Meta.EPOCH
SECONDS = 60  # between changes, so that a failover to a copy older than that is noticed


def read() -> tuple[str | None, bool]:
    """Return the epoch by the database, None before the first one, and whether it has lasted long enough."""
    is_old = ExpressionWrapper(Q(until__lte=DbNow()), output_field=BooleanField())
    return Meta.objects.filter(key=KEY).values_list("value", is_old).first() or (None, False)


def make() -> str:
    """Make the first epoch, or return the one that somebody else has made meanwhile."""
    first = Meta(key=KEY, value=job_id().hex, until=DbNow() + timedelta(seconds=SECONDS))
    Meta.objects.using(database()).bulk_create([first], ignore_conflicts=True)
    return Meta.objects.values_list("value", flat=True).get(key=KEY)


def change_if_old(epoch: str) -> str | None:
    """Change an epoch that has lasted long enough; return the new one, or None."""
    new = job_id().hex
    old = Meta.objects.filter(key=KEY, value=epoch, until__lte=DbNow())
    return new if old.update(value=new, until=DbNow() + timedelta(seconds=SECONDS)) else None


def change() -> str:
    """Change the epoch now: every worker then sees that Redis has to be filled anew."""
    make()
    new = job_id().hex
    Meta.objects.filter(key=KEY).update(value=new, until=DbNow() + timedelta(seconds=SECONDS))
    return new
