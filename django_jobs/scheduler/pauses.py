"""Pauses queues and lets them go on; kept in the database, where every claim looks."""

from __future__ import annotations

from collections.abc import Collection

from ..models import DbNow, Queue, database


def pause(names: Collection[str], *, by: str = "", reason: str = "") -> int:
    """Let no worker start jobs of those queues; return how many were not paused before."""
    going = Queue.objects.using(database()).filter(name__in=names, paused_at__isnull=True)
    return going.update(paused_at=DbNow(), paused_by=_cut("paused_by", by), reason=_cut("reason", reason))


def resume(names: Collection[str]) -> int:
    """Let workers start jobs of those queues again; return how many were paused."""
    paused = Queue.objects.using(database()).filter(name__in=names, paused_at__isnull=False)
    return paused.update(paused_at=None, paused_by="", reason="")


def _cut(column: str, text: str) -> str:
    return text[: Queue._meta.get_field(column).max_length]
