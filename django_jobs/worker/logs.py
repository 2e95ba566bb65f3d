"""Keeps what a body logs by Python's ``logging`` with its job, where the task asks for that."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from ..tasks import Task, TaskContext

_listener: ContextVar[tuple[TaskContext, int] | None] = ContextVar("django_jobs_log_listener", default=None)


@contextmanager
def captured(task: Task, context: TaskContext) -> Iterator[None]:
    """Keep the records of the task's level and above that are logged in this context: by the body, and no other."""
    if not task.capture_logs:
        yield
        return
    level = logging.INFO if task.capture_logs is True else logging.getLevelNamesMapping()[task.capture_logs]
    logging.getLogger().addHandler(_handler)  # once, however often it is said
    token = _listener.set((context, level))
    try:
        yield
    finally:
        _listener.reset(token)


class Handler(logging.Handler):
    """Passes records on to the body that listens in this context."""

    def emit(self, record: logging.LogRecord) -> None:
        context, level = _listener.get() or (None, 0)
        if context is not None and record.levelno >= level:
            context.log(self.format(record))
        if record.levelno >= logging.WARNING and self._is_alone(record.name):
            logging.lastResort.handle(record)  # as Python does where no logging is set up

    def _is_alone(self, name: str) -> bool:
        logger: logging.Logger | None = logging.getLogger(name)
        while logger is not None:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent
        return logging.lastResort is not None


_handler = Handler()
_handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
