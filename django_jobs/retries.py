"""Decides what follows a failed attempt: another one after a pause, or the end."""

from __future__ import annotations

import logging
import random as _random
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import isfinite
from typing import Any

from .conf import seconds
from .exceptions import Retry

logger = logging.getLogger("django_jobs.worker")

FIRST_PAUSE = 2.0  # seconds
LONGEST_PAUSE = 3600.0  # seconds
LONGEST_ASKED_PAUSE = 10 * 365 * 86_400.0  # seconds; what a body or a backoff asks for must fit a database's calendar

Backoff = float | Sequence[float] | Callable[[BaseException, Any], float | None] | None


def default_backoff(failures: int, random: Callable[[], float] = _random.random) -> float:
    """Return the pause in seconds after that many failures: doubling from 2 s to 1 h, the upper half by chance.

    "Equal jitter" of https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - 1, 20))
    return pause / 2 + random() * pause / 2 if failures > 1 else FIRST_PAUSE * (1 + random() / 2)


def pause_before_retry(
    exception: BaseException,
    job: Any,
    *,
    failures: int,
    max_attempts: int | None,
    backoff: Backoff = None,
    retry_on: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    give_up_on: type[BaseException] | tuple[type[BaseException], ...] = (),
) -> float | None:
    """Return the pause in seconds before the next attempt, or None when there is to be none.

    ``failures`` counts this one. ``job`` is what a callable backoff gets as its second argument.
    """
    if max_attempts is not None and failures >= max_attempts:
        return None
    if isinstance(exception, Retry):
        return asked_pause(exception, job, failures, backoff)
    if isinstance(exception, give_up_on) or not is_retried(exception, retry_on):
        return None
    return pause(backoff, exception, job, failures)


def is_retried(exception: BaseException, retry_on: Any) -> bool:
    """Say whether retry_on means the exception; Exception there means every failure, a timeout or SystemExit too."""
    classes = retry_on if isinstance(retry_on, tuple) else (retry_on,)
    return Exception in classes or isinstance(exception, classes)


def asked_pause(exception: Retry, job: Any, failures: int, backoff: Backoff) -> float:
    """Return the pause that a raised Retry asks for, or the usual one: it always asks again."""
    if exception.after is not None:
        try:
            return _bounded(exception.after)
        except Exception:
            logger.warning(
                "job %s raised Retry(after=%r), which is no pause; its backoff is taken", job.id, exception.after
            )
    usual = pause(backoff, exception, job, failures)
    return default_backoff(failures) if usual is None else usual


def pause(backoff: Backoff, exception: BaseException, job: Any, failures: int) -> float | None:
    """Return the pause in seconds that a backoff gives after that many failures, or None to give up."""
    match backoff:
        case None:
            return default_backoff(failures)
        case int() | float() | timedelta():
            return _bounded(backoff)
        case list() | tuple():
            return _bounded(backoff[min(failures, len(backoff)) - 1])
    try:
        answer = backoff(exception, job)
        return None if answer is None else _bounded(answer)
    except Exception:
        logger.warning("the backoff of job %s raised; the default pause is taken", job.id, exc_info=True)
        return default_backoff(failures)


def _bounded(duration: timedelta | float) -> float:
    """Return a pause in seconds that can be added to a date; raise for what is no number."""
    pause = float(seconds(duration))
    if not isfinite(pause):
        raise ValueError(f"{duration!r} is not a pause")
    return min(max(0.0, pause), LONGEST_ASKED_PAUSE)
