"""Decides how many jobs a child takes: what can start at once, and a little of what can start soon."""

from __future__ import annotations

AHEAD = 200  # jobs that a child claims at most beyond those it can start at once
AHEAD_SECONDS = 0.1  # of work that is claimed before it can start
MOSTLY = 0.5  # of the last jobs: beyond that they are taken for async ones


class Appetite:
    """What a child has learnt of its jobs: how long they last, and how many are async."""

    def __init__(self, *, threads: int, async_slots: int):
        self._threads = threads
        self._async_slots = async_slots
        self._mean: float | None = None  # seconds that a body lasts
        self._async_share = 0.0

    def lasted(self, seconds: float) -> None:
        """Learn how long a body took."""
        self._mean = seconds if self._mean is None else 0.8 * self._mean + 0.2 * seconds

    def was_too_much(self, seconds: float) -> None:
        """Learn that jobs had to be given back, since bodies last at least so long."""
        self._mean = max(self._mean or 0.0, seconds)

    def came(self, *, is_async: bool) -> None:
        """Learn of what kind a job is that was taken."""
        self._async_share = 0.9 * self._async_share + (0.1 if is_async else 0.0)

    def wanted(self, *, waiting: int, sync_running: int, async_running: int) -> int:
        """Return how many jobs to take, while so many wait for their turn and so many run."""
        if self._async_share > MOSTLY:
            places, running = self._async_slots, async_running
        else:
            places, running = self._threads, sync_running
        ahead = self._ahead(places)
        if waiting > ahead // 2 or (not ahead and async_running >= self._async_slots):
            return 0
        return max(0, places - running - waiting) + max(0, ahead - waiting)

    def _ahead(self, places: int) -> int:
        """Return how many more than can start at once; none before it is known how long they last."""
        return min(AHEAD, int(AHEAD_SECONDS / self._mean * places)) if self._mean else 0
