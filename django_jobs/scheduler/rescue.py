"""Frees the jobs of workers that died: those that did not beat until their lease was over."""

from __future__ import annotations

import logging
import time
from datetime import timedelta
from functools import partial

from django.db import models
from django.db.models import Exists, ExpressionWrapper, OuterRef, Q

from .. import enqueue, following, moves, states
from ..conf import BEAT_SECONDS, LEASE_SECONDS
from ..models import DbNow, Job, Worker
from ..moves import Held
from ..plain import plain

logger = logging.getLogger("django_jobs.scheduler")

FEW = 3  # workers among which any number may die at once
CHUNK = 1000
ALL_SECONDS = 60.0  # between looks at all running jobs


class Rescue:
    """Run only by a worker that has itself beaten without a gap for a lease."""

    def __init__(self) -> None:
        self._waiting_since = 0.0  # too many look dead; monotonic
        self._all_at = 0.0  # when all running jobs are looked at again; monotonic

    def __call__(self) -> int:
        """Declare dead workers lost and give their jobs back; return how many jobs."""
        asked = time.monotonic()
        dead_or_alive = list(looked_at())
        if is_old(asked):
            return 0
        dead = [worker for worker in dead_or_alive if worker.looks_dead]
        if self._too_many(len(dead), len(dead_or_alive)):
            return 0
        for worker in dead:
            if Worker.objects.filter(pk=worker.pk, alive_until__lte=DbNow()).update(lost_at=DbNow()):
                name = plain(str(worker))
                logger.warning("worker %s is gone: no heartbeat for %g s; its jobs run elsewhere", name, LEASE_SECONDS)
        return self._free_jobs()

    def _free_jobs(self) -> int:
        asked = time.monotonic()
        orphans = list(self._orphans().values_list("pk", "claim", "worker")[:CHUNK])
        if is_old(asked):
            return 0
        if orphans:
            # What they took from Redis is put back by that, too.
            Worker.objects.filter(pk__in={worker for *_, worker in orphans}, lost_at=None).update(lost_at=DbNow())
            held = [Held(id, claim) for id, claim, _ in orphans]
            lose = partial(following.lose, cause="its worker is gone: no heartbeat")
            enqueue.dispatch(moves.piecewise(lose, held))
        return len(orphans)

    def _orphans(self) -> models.QuerySet:
        """Return the jobs of workers that have stopped beating; once a minute those of unknown workers, too.

        To look at all running jobs means to look at all that ran since the oldest snapshot was taken.
        """
        if time.monotonic() >= self._all_at:
            self._all_at = time.monotonic() + ALL_SECONDS
            return orphans_among(Job.objects.all())
        return orphans_among(Job.objects.filter(worker__in=list(silent().values_list("pk", flat=True))))

    def _too_many(self, dead: int, everybody: int) -> bool:
        """When more than a third look dead, it may be the network: wait one lease more."""
        if everybody <= FEW or dead * 3 <= everybody:
            self._waiting_since = 0.0
            return False
        if not self._waiting_since:
            self._waiting_since = time.monotonic()
            logger.warning("%d of %d workers look dead at once; waiting %g s more", dead, everybody, LEASE_SECONDS)
        return time.monotonic() - self._waiting_since < LEASE_SECONDS


def silent() -> models.QuerySet:
    """Return workers that have not beaten for a lease, and not for much longer."""
    lately = DbNow() - timedelta(seconds=10 * ALL_SECONDS)
    return Worker.objects.filter(beat_at__lte=lease_ago(), beat_at__gt=lately).order_by("pk")


def just_gone() -> models.QuerySet:
    """Return silent workers that nobody has missed yet, or whose last claims may still be on their way."""
    just_now = DbNow() - timedelta(seconds=3 * LEASE_SECONDS)
    return silent().filter(present() | Q(beat_at__gt=just_now))


def orphans_among(jobs: models.QuerySet) -> models.QuerySet:
    """Return those of the jobs whose worker is not alive.

    An idle worker on SQLite promises few beats; one that has had a job for a lease must beat as all do.
    """
    alive = Worker.objects.filter(pk=OuterRef("worker"), alive_until__gt=DbNow())
    beating = alive.filter(beat_at__gt=lease_ago())
    return jobs.filter(~Exists(alive) | Q(~Exists(beating), claimed_at__lte=lease_ago()), state=states.RUNNING)


def lease_ago() -> models.Expression:
    return DbNow() - timedelta(seconds=LEASE_SECONDS)


def is_old(asked: float) -> bool:
    """Say whether an answer took so long that the database may have stood still: nobody could beat meanwhile."""
    return time.monotonic() - asked > BEAT_SECONDS / 2


def present() -> Q:
    """Workers that have neither said good-bye nor been found dead."""
    return Q(stopped_at__isnull=True, lost_at__isnull=True)


def looked_at() -> models.QuerySet:
    """Return all workers that should be alive, each with the judgement of the database's clock."""
    looks_dead = ExpressionWrapper(Q(alive_until__lte=DbNow()), output_field=models.BooleanField())
    return Worker.objects.filter(present()).annotate(looks_dead=looks_dead)
