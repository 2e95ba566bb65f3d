"""What the scheduler is a list of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import QuerySet


@dataclass(frozen=True, kw_only=True)
class Chore:
    """A guarded statement that any worker may run at any time, about ``every`` so many seconds."""

    name: str
    every: float  # seconds
    run: Callable[[], int]  # returns how many rows it moved
    rows: Callable[[timedelta], QuerySet] | None = None  # what is due so much later; without it, it need not run ...
    at_least: float = 300.0  # ... but once in so many seconds
    moment: Any = None  # when such a row is due: a column or an expression, by which they are ordered; None: now
    may_crawl: bool = False  # its rows are looked for among the dead ones that an old snapshot keeps
    needs_scheduler: bool = False  # dropped by --no-scheduler
    needs_steady: bool = False  # only by a worker whose own heartbeats have succeeded for a lease
