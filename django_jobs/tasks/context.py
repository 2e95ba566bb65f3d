"""What a running body is told about its job, and may say of itself."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import codec
from ..models import Job

PROGRESS_TEXT_LENGTH = 200


class TaskContext:
    """Passed as the first argument to the body of a task declared with ``takes_context=True``."""

    def __init__(self, job: Job, is_cancelled: Callable[[], bool] = lambda: False):
        self.job = job
        self._is_cancelled = is_cancelled
        self._progress: str | None = None

    @property
    def attempt(self) -> int:
        """The number of this attempt, counted from 1."""
        return self.job.attempt

    @property
    def metadata(self) -> dict[str, Any]:
        return self.job.metadata

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to cancel this job; the body is stopped about a second later."""
        return self._is_cancelled()

    def progress(self, done: float, total: float | None = None, text: str = "") -> None:
        """Say how far the work has come; costs nothing, and is stored about once a second.

        ``done`` and ``total`` are numbers of any unit, ``text`` a short word for people.
        """
        self._progress = codec.dumps({"done": done, "total": total, "text": str(text)[:PROGRESS_TEXT_LENGTH]})

    def take_progress(self) -> str | None:
        """Return what was said since the last look, encoded, or None."""
        progress, self._progress = self._progress, None
        return progress
