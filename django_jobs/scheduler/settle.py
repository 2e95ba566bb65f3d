"""Settles jobs that wait for another one which has ended: what the recording of its outcome could not do."""

from __future__ import annotations

from django.db.models import Exists, OuterRef

from .. import enqueue, moves
from ..models import Job

CHUNK = 1000


def settle() -> int:
    """Queue or cancel them; return how many were queued.

    They are settled with the outcome that they wait for. Left over is who was locked at that moment, whose job was
    deleted by hand, and whose job was run by a worker of a version that knows no followers.
    """
    unfinished = Job.objects.filter(pk=OuterRef("parent"), finished_at__isnull=True)
    left = moves.waiting_followers().filter(~Exists(unfinished)).order_by("run_after")  # by the index of what is due
    queued = moves.settle_followers(set(left.values_list("parent", flat=True)[:CHUNK]))
    enqueue.dispatch(queued)
    return len(queued)
