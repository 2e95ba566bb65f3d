"""Frees the jobs of workers that died: those that did not beat until their lease was over."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.db.models import Exists, OuterRef, Q

from .. import enqueue, moves, states
from ..conf import LEASE_SECONDS
from ..models import DbNow, Job, Worker
from ..moves import Held

logger = logging.getLogger("django_jobs.scheduler")

FEW = 3  # workers among which any number may die at once
CHUNK = 1000


class Rescue:
    """Run only by a worker that has itself beaten without a gap for a lease."""

    def __init__(self) -> None:
        self._waiting_since = 0.0  # too many look dead; monotonic

    def __call__(self) -> int:
        """Declare dead workers lost and give their jobs back; return how many jobs."""
        if self._too_many_look_dead():
            return 0
        lost = list(looking_dead())
        for worker in lost:
            if Worker.objects.filter(pk=worker.pk, alive_until__lte=DbNow()).update(lost_at=DbNow()):
                logger.warning(
                    "worker %s is gone: no heartbeat for %g s; its jobs run elsewhere", worker, LEASE_SECONDS
                )
        return self._free_jobs()

    def _free_jobs(self) -> int:
        lease_ago = DbNow() - timedelta(seconds=LEASE_SECONDS)
        alive = Worker.objects.filter(pk=OuterRef("worker"), alive_until__gt=DbNow())
        beating = alive.filter(beat_at__gt=lease_ago)
        # An idle worker on SQLite promises few beats; one that has had a job for a lease must beat as all do.
        orphan = ~Exists(alive) | Q(~Exists(beating), claimed_at__lte=lease_ago)
        orphans = list(Job.objects.filter(orphan, state=states.RUNNING).values_list("pk", "claim", "worker")[:CHUNK])
        if orphans:
            # What they took from Redis is put back by that, too.
            Worker.objects.filter(pk__in={worker for *_, worker in orphans}, lost_at=None).update(lost_at=DbNow())
            held = [Held(id, claim) for id, claim, _ in orphans]
            enqueue.dispatch(moves.lose(held, cause="its worker is gone: no heartbeat"))
        return len(orphans)

    def _too_many_look_dead(self) -> bool:
        """When more than a third look dead, it may be the network: wait one lease more."""
        dead, all_ = looking_dead().count(), Worker.objects.filter(present()).count()
        if all_ <= FEW or dead * 3 <= all_:
            self._waiting_since = 0.0
            return False
        if not self._waiting_since:
            self._waiting_since = time.monotonic()
            logger.warning("%d of %d workers look dead at once; waiting %g s more", dead, all_, LEASE_SECONDS)
        return time.monotonic() - self._waiting_since < LEASE_SECONDS


def present() -> Q:
    """Workers that have neither said good-bye nor been found dead."""
    return Q(stopped_at__isnull=True, lost_at__isnull=True)


def looking_dead():
    return Worker.objects.filter(present(), alive_until__lte=DbNow())
