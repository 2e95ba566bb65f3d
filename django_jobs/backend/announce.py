"""Sends the framework's signals for jobs that came by one of our backends, whichever process they are in."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from django.dispatch import Signal

from .. import signals, states
from . import framework
from .threads import outside_the_loop

if TYPE_CHECKING:
    from ..models import Job
    from ..moves import Outcome


def enqueued(job: Job, **_: Any) -> None:
    if job.backend:
        from . import results  # here: it brings the models, and tasks are declared before these can be loaded

        outside_the_loop(send, framework.task_enqueued, results.enqueued_result(job))


def started(job: Job, **_: Any) -> None:
    if job.backend:
        from . import results  # here: as in enqueued

        outside_the_loop(send, framework.task_started, results.running_result(job))


def finished(job: Job, outcome: Outcome, **_: Any) -> None:
    """Tell the end, unless there is to be another attempt."""
    if job.backend and outcome.transition.target in states.FINAL:
        from . import results  # here: as in enqueued

        result = results.finished_result(job, outcome)
        outside_the_loop(send, framework.task_finished, result, sys.exception())


def send(signal: Signal, result: framework.TaskResult, error: BaseException | None = None) -> None:
    """Send a signal as the framework does: while an exception is handled, if it tells of a failure."""
    sender = type(framework.task_backends[result.backend])
    if error is None or sys.exception() is error:
        signal.send_robust(sender, task_result=result)
        return
    try:
        raise error
    except BaseException:
        signal.send_robust(sender, task_result=result)


signals.job_enqueued.connect(enqueued)
signals.job_started.connect(started)
signals.job_finished.connect(finished)
