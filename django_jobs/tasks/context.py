"""What a running body is told about its job, and may say of itself."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from typing import Any

from django.db.models import QuerySet

from .. import codec
from ..models import Job
from ..models.job import LOG_LENGTH

PROGRESS_TEXT_LENGTH = 200
LINES = 200  # of what is logged between two writes, the last ones
LINE_LENGTH = 1_000  # characters


class TaskContext:
    """Passed as the first argument to the body of a task declared with ``takes_context=True``."""

    def __init__(self, job: Job, is_cancelled: Callable[[], bool] = lambda: False):
        self.job = job
        self._is_cancelled = is_cancelled
        self._progress: tuple[float, float | None, str] | None = None
        self._lines: deque[tuple[float, str]] = deque(maxlen=LINES)
        self._unwritten = "" if job.attempt <= 1 else f"Attempt {job.attempt}\n"

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
        if not (_is_small(done) and (total is None or _is_small(total))):
            codec.dumps([done, total])  # what cannot be stored is refused here, where the mistake is
        self._progress = done, total, str(text)[:PROGRESS_TEXT_LENGTH]

    def track(self, rows: Iterable | AsyncIterable, total: float | None = None, text: str = "") -> Tracked:
        """Return the same rows, for ``for`` or ``async for``; each counts as progress when it is done with.

        ``total`` is the number of rows, unless it is given: what ``count()`` says of a QuerySet, ``len()`` of others.
        """
        return Tracked(self, rows, total, text)

    def log(self, text: object) -> None:
        """Keep a line with the job; costs nothing, and is stored about once a second, the last lines of many."""
        self._lines.append((time.time(), str(text)[:LINE_LENGTH]))

    def take_progress(self) -> str | None:
        """Return what was said since the last look, encoded, or None."""
        progress, self._progress = self._progress, None
        if progress is None:
            return None
        return codec.dumps(dict(zip(("done", "total", "text"), progress, strict=True)))

    def take_log(self) -> str | None:
        """Return the lines logged since the last look, each with its time in UTC, or None."""
        lines = [self._lines.popleft() for _ in range(len(self._lines))]
        if not lines:
            return None
        before, self._unwritten = self._unwritten, ""
        return (before + "".join(_stamped(*line) for line in lines))[-LOG_LENGTH:]

    def put_back(self, log: str) -> None:
        """Keep lines that could not be written for the next time."""
        self._unwritten = log


class Tracked:
    """Rows on their way through a body, counted."""

    def __init__(self, context: TaskContext, rows: Iterable | AsyncIterable, total: float | None, text: str):
        self._context, self._rows, self._total, self._text = context, rows, total, text

    def __iter__(self) -> Iterator[Any]:
        if self._total is None:
            self._total = self._rows.count() if isinstance(self._rows, QuerySet) else self._length
        self._say(0)
        for done, row in enumerate(self._rows, start=1):
            yield row
            self._say(done)

    async def __aiter__(self) -> AsyncIterator[Any]:
        if self._total is None:
            self._total = await self._rows.acount() if isinstance(self._rows, QuerySet) else self._length
        self._say(0)
        done = 0
        async for row in self._rows:
            yield row
            done += 1
            self._say(done)

    @property
    def _length(self) -> int | None:
        return len(self._rows) if hasattr(self._rows, "__len__") else None

    def _say(self, done: int) -> None:
        self._context.progress(done, self._total, self._text)


def _is_small(number: float) -> bool:
    return type(number) is int and number.bit_length() < 64


def _stamped(moment: float, text: str) -> str:
    stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(moment))
    return f"{stamp} {codec.escaped(text).rstrip()}\n"
