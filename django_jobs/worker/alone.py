"""Jobs with which a process has died before: a child runs each with nothing beside it, lest it take others along."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable
from uuid import UUID

LONG_SECONDS = 1.0  # a body that runs so long is not waited for ...
SHUN_SECONDS = 10.0  # ... and its child leaves such jobs to others for so long
SHUNNED_SECONDS = 60.0  # jobs that have waited for us so long are worth a longer wait


class Alone:
    """Those that wait for one child to have nothing else to do."""

    def __init__(self) -> None:
        self.is_running = False  # one of them, and so nothing else may start
        self._waiting: deque[UUID] = deque()
        self._since = 0.0  # they wait for us; monotonic, 0: none does
        self._shun_until = 0.0  # monotonic

    def __bool__(self) -> bool:
        return bool(self._waiting)

    @property
    def is_shunned(self) -> bool:
        """Whether such jobs are left to others for now."""
        return time.monotonic() < self._shun_until

    def keep(self, ids: Iterable[UUID]) -> None:
        """Let jobs wait until nothing else runs here."""
        self._waiting.extend(ids)
        self._since = self._since or (time.monotonic() if self._waiting else 0.0)

    def next(self) -> UUID:
        self._since = 0.0
        return self._waiting.popleft()

    def leave_if_blocked(self, starts: Iterable[float]) -> None:
        """Leave them to a child with nothing to do if a body of ours, by its start, runs too long to be waited for."""
        now = time.monotonic()
        patience = SHUNNED_SECONDS if self._since and now - self._since > SHUNNED_SECONDS else LONG_SECONDS
        if any(now - start > patience for start in starts):
            self._waiting.clear()
            self._shun_until = now + SHUN_SECONDS
