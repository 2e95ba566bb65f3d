"""What the scheduler is a list of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db.models import QuerySet


@dataclass(frozen=True, kw_only=True)
class Chore:
    """A guarded statement that any worker may run at any time, about ``every`` so many seconds."""

    name: str
    every: float  # seconds
    run: Callable[[], int]  # returns how many rows it moved
    rows: Callable[[], QuerySet] | None = None  # without such rows, ordered by an index, it need not run ...
    at_least: float = 60.0  # ... but once in so many seconds
    needs_scheduler: bool = False  # dropped by --no-scheduler
    needs_steady: bool = False  # only by a worker whose own heartbeats have succeeded for a lease
