"""The scheduler: a list of chores that every worker can do, so that no process must be single."""

from __future__ import annotations

from uuid import UUID

from .. import backlog
from .chore import Chore
from .counters import roll_up
from .duties import Duties
from .expire import expire
from .fire import due_at, due_schedules, fire
from .follow import follow, waiting_jobs
from .promote import promote
from .prune import prune, tidy
from .reconcile import Reconcile
from .rescue import Rescue, just_gone
from .settle import settle
from .sync import sync

__all__ = ["Chore", "Duties", "chores", "duties"]


def chores(*, scheduler: bool = True) -> list[Chore]:
    """Return all chores; without the scheduler those that only keep promises already made."""
    everything = [
        Chore(name="fire", every=0.5, run=fire, rows=due_schedules, moment=due_at, needs_scheduler=True),
        Chore(name="follow", every=0.5, run=follow, rows=lambda ahead: waiting_jobs()),
        Chore(name="promote", every=0.5, run=promote, rows=backlog.due, moment="run_after"),
        Chore(
            name="rescue",
            every=1.0,
            run=Rescue(),
            rows=lambda ahead: just_gone(),
            at_least=30.0,
            needs_steady=True,
        ),
        Chore(
            name="reconcile",
            every=1.0,
            run=Reconcile(first_after=1.0),
            rows=lambda ahead: backlog.queued(),
            at_least=10.0,
            may_crawl=True,
        ),
        Chore(name="expire", every=0.5, run=expire, rows=backlog.late, moment="expires_at"),
        Chore(name="settle", every=30.0, run=settle),
        Chore(name="roll_up", every=60.0, run=roll_up, needs_scheduler=True),
        Chore(name="prune", every=60.0, run=prune, needs_scheduler=True),
        Chore(name="tidy", every=600.0, run=tidy, needs_scheduler=True),
    ]
    return [chore for chore in everything if scheduler or not chore.needs_scheduler]


def duties(worker: UUID, *, scheduler: bool = True) -> Duties:
    return Duties(worker, chores(scheduler=scheduler), at_start=[sync] if scheduler else [])
