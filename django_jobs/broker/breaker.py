"""A circuit breaker: after a failure nobody waits for Redis again until a pause is over."""

from __future__ import annotations

import logging
import time

from redis import exceptions

from ..patience import Patience

logger = logging.getLogger("django_jobs.broker")

FIRST_PAUSE = 0.5  # seconds
LONGEST_PAUSE = 5.0  # seconds


class Breaker:
    """Closed while Redis answers; open for a growing pause after each failure. Logs each change once."""

    def __init__(self, where: str, meanwhile: str, *, longest: float = LONGEST_PAUSE):
        self._where = where
        self._meanwhile = meanwhile  # what people are told of the time without it
        self._patience = Patience(first=FIRST_PAUSE, longest=longest)
        self._until = 0.0

    @property
    def is_open(self) -> bool:
        return time.monotonic() < self._until

    def failed(self, error: BaseException) -> None:
        if not self._patience:
            logger.warning("Redis at %s %s. %s", self._where, _trouble(error), self._meanwhile)
        self._until = time.monotonic() + self._patience.failed()

    def succeeded(self) -> None:
        if self._patience:
            logger.warning("Redis at %s answers again.", self._where)
        self._patience.succeeded()
        self._until = 0.0


def _trouble(error: BaseException) -> str:
    """Say what Redis did, to stand after its address."""
    match error:
        case exceptions.ConnectionError() if isinstance(error.__context__, ConnectionRefusedError):
            return "refused the connection"
        case exceptions.TimeoutError():
            return "did not answer in time"
        case exceptions.ResponseError():
            return f"refused a command ({error})"
    return f"cannot be reached ({str(error).rstrip('.')})"
