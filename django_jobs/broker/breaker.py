"""A circuit breaker: after a failure nobody waits for Redis again until a pause is over."""

from __future__ import annotations

import logging
import time

logger = logging.getLogger("django_jobs.broker")

FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 5.0  # seconds


class Breaker:
    """Closed while Redis answers; open for a growing pause after each failure. Logs each change once."""

    def __init__(self, where: str):
        self._where = where
        self._pause = 0.0
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._until

    def failed(self, error: BaseException) -> None:
        if not self._pause:
            logger.warning(
                "Redis at %s does not answer (%s). Jobs are stored and will start when it is back.",
                self._where,
                error,
            )
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._until = time.monotonic() + self._pause

    def succeeded(self) -> None:
        if self._pause:
            logger.warning("Redis at %s answers again.", self._where)
        self._pause = self._until = 0.0
