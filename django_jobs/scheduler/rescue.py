"""Frees the jobs of workers that died: those that did not beat until their lease was over."""

from __future__ import annotations

import logging
import time
from datetime import timedelta

from django.db import models
from django.db.models import Exists, ExpressionWrapper, OuterRef, Q

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
        dead_or_alive = list(looked_at())
        dead = [worker for worker in dead_or_alive if worker.looks_dead]
        if self._too_many(len(dead), len(dead_or_alive)):
            return 0
        for worker in dead:
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

    def _too_many(self, dead: int, everybody: int) -> bool:
        """When more than a third look dead, it may be the network: wait one lease more."""
        if everybody <= FEW or dead * 3 <= everybody:
            self._waiting_since = 0.0
            return False
        if not self._waiting_since:
            self._waiting_since = time.monotonic()
            logger.warning("%d of %d workers look dead at once; waiting %g s more", dead, everybody, LEASE_SECONDS)
        return time.monotonic() - self._waiting_since < LEASE_SECONDS


def present() -> Q:
    """Workers that have neither said good-bye nor been found dead."""
    return Q(stopped_at__isnull=True, lost_at__isnull=True)


def looked_at() -> models.QuerySet:
    """Return all workers that should be alive, each with the judgement of the database's clock."""
    looks_dead = ExpressionWrapper(Q(alive_until__lte=DbNow()), output_field=models.BooleanField())
    return Worker.objects.filter(present()).annotate(looks_dead=looks_dead)
