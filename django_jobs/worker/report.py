"""Tells people, or a log collector, what a worker does: a summary, a line for each job, the count at the end."""

from __future__ import annotations

import json
import logging
import os
import socket
import sys
from datetime import UTC, datetime
from typing import Any, TextIO

from .. import states
from ..models import Job
from ..moves import Outcome
from ..plain import lines, plain
from .slots import Header

SIGNS = {
    states.SUCCEED: ("✓", "32"),
    states.FAIL: ("✗", "31"),
    states.RETRY: ("✗", "33"),
    states.STOP: ("–", "33"),
    states.DISCARD: ("–", "33"),
}


class Reporter:
    """Writes lines of text; one write per batch, so that lines of several processes do not mix."""

    def __init__(self, stream: TextIO | None = None):
        self._stream = stream or sys.stdout
        self._colour = self._stream.isatty() and "NO_COLOR" not in os.environ

    def say(self, event: str, text: str, /, **details: Any) -> None:
        """Tell something about the worker itself."""
        self._write([lines(text)])

    def finished(self, ended: list[tuple[Job, Outcome]]) -> None:
        if ended:
            self._write([self._line(job, outcome) for job, outcome in ended])

    def postponed(self, job: Job, reason: str, pause: float) -> None:
        self._write([f"- {plain(job.name)} given back, again in {duration(pause)}  {plain(reason)}"])

    def _line(self, job: Job, outcome: Outcome) -> str:
        sign, colour = SIGNS[outcome.transition]
        if self._colour:
            sign = f"\x1b[{colour}m{sign}\x1b[0m"
        words = [sign, plain(job.name), duration(outcome.finished - outcome.started)]
        if outcome.transition in (states.RETRY, states.FAIL):
            words.append(tries(job))
        if outcome.delay is not None:
            words[-1] += f", again in {duration(outcome.delay)}"
        if outcome.last_error or outcome.reason:
            words.append(f" {plain(outcome.last_error or outcome.reason)}")
        return " ".join([*words, f" {job.id}"])

    def _write(self, lines: list[str]) -> None:
        try:
            self._stream.write("".join(f"{line}\n" for line in lines))
            self._stream.flush()
        except (OSError, ValueError):
            pass  # whoever listened has gone; the work goes on


class JsonReporter(Reporter):
    """Writes one JSON object a line."""

    def say(self, event: str, text: str, /, **details: Any) -> None:
        self._write([self._json(**{"event": event, "message": text.strip(), **details})])

    def postponed(self, job: Job, reason: str, pause: float) -> None:
        self._write([self._json(event="postponed", **identity(job), reason=reason, again_in=pause)])

    def _line(self, job: Job, outcome: Outcome) -> str:
        return self._json(
            event="finished",
            **identity(job),
            state=outcome.transition.target,
            seconds=round(outcome.finished - outcome.started, 6),
            again_in=outcome.delay,
            error=outcome.last_error or None,
            reason=outcome.reason or None,
        )

    def _json(self, **fields: Any) -> str:
        return json.dumps({"at": datetime.now(UTC).isoformat(), **fields}, default=str)


class ReportingHandler(logging.Handler):
    """Passes warnings on to the reporter, for projects whose LOGGING does not mention django_jobs."""

    def __init__(self, reporter: Reporter):
        super().__init__(logging.WARNING)
        self._reporter = reporter

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)
        self._reporter.say("log", f"! {text}", level=record.levelname, logger=record.name)


def report_warnings(reporter: Reporter) -> None:
    """Show our warnings, unless the project has a handler for them."""
    logger = logging.getLogger("django_jobs")
    if not logger.hasHandlers():
        logger.addHandler(ReportingHandler(reporter))
        logger.propagate = False


def say_ready(reporter: Reporter, seconds: float) -> None:
    name = f"{socket.gethostname()}:{os.getpid()}"
    reporter.say(
        "ready",
        f"ready in {duration(seconds)} as {name}, Ctrl+C stops after running jobs",
        worker=name,
        seconds=seconds,
    )


def say_totals(reporter: Reporter, totals: Header) -> None:
    counts = {
        name: getattr(totals, name) for name in ("succeeded", "failed", "retried", "cancelled", "released", "lost")
    }
    text = ", ".join(f"{count} {'given back' if word == 'released' else word}" for word, count in counts.items())
    reporter.say("stopped", f"stopped: {text}", **counts)


def identity(job: Job) -> dict[str, Any]:
    return {"job": str(job.id), "task": job.task_path, "queue": job.queue_name, "attempt": job.attempt}


def tries(job: Job) -> str:
    tried = f"attempt {job.failures + 1}"
    return tried if job.max_attempts is None else f"{tried} of {job.max_attempts}"


def duration(seconds: float) -> str:
    """Return a duration for people: "12 ms", "2.0 s", "3 min 5 s", "1 h 12 min"."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.0095 else f"{seconds * 1000:.1f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
