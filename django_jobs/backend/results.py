"""Shows jobs as Django's TaskResult."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from django.core.exceptions import ValidationError
from django.utils import timezone

from .. import codec, states
from ..exceptions import Interrupted, WorkerDied
from ..models import Attempt, Job, Traceback
from ..moves import Failure, Outcome
from ..tasks import registry
from . import framework
from .framework import TaskError, TaskResult, TaskResultStatus
from .task import as_enqueued
from .threads import outside_the_loop


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class JobResult(TaskResult):
    """A TaskResult whose arguments may be of every type that jobs carry."""

    def __post_init__(self) -> None:
        """Take them as they are: Django's own refuses a Decimal."""

    def __repr__(self) -> str:
        return f"<JobResult {self.id} of {self.task.module_path}: {self.status}>"  # without arguments: secrets


def find(result_id: str, alias: str) -> TaskResult:
    """Return the job of that id, for a backend; raise the framework's TaskResultDoesNotExist."""
    try:
        job = Job.objects.get(pk=result_id)
    except (Job.DoesNotExist, ValidationError, TypeError, ValueError):
        raise framework.TaskResultDoesNotExist(result_id) from None
    return result_of(job, as_enqueued(registry.get(job.task_path), job, job.backend or alias))


def result_of(job: Job, task: framework.Task) -> TaskResult:
    """Return what a saved job is by now."""
    past = history(job) if job.attempt else History()
    last = job.started_at or job.claimed_at
    has_worker = job.worker and job.state in (states.RUNNING, states.SUCCEEDED)
    return _result(
        job,
        task,
        status=TaskResultStatus[job.status],
        started_at=min(filter(None, (past.first, last)), default=None),
        last_attempted_at=last or past.last,
        finished_at=job.finished_at,
        errors=past.errors,
        worker_ids=[*past.workers, *([str(job.worker)] if has_worker else [])],
        return_value=job.return_value,
    )


def enqueued_result(job: Job) -> TaskResult:
    """Return what a job is that has just been saved."""
    return result_of(job, _task_of(job))


def running_result(job: Job) -> TaskResult:
    """Return what a job is to the worker that runs its body now; it has not loaded all of the row."""
    past = outside_the_loop(history, job) if job.attempt > 1 else History()
    now = timezone.now()
    return _result(
        job,
        _task_of(job),
        status=TaskResultStatus.RUNNING,
        started_at=past.first or now,
        last_attempted_at=now,
        finished_at=None,
        errors=past.errors,
        worker_ids=[*past.workers, str(job.worker)],
        return_value=None,
    )


def finished_result(job: Job, outcome: Outcome) -> TaskResult:
    """Return what a job is to the worker whose body has just ended for good."""
    result = running_result(job)
    if outcome.failure:
        result.errors.append(_error(outcome.failure, outcome.failure.traceback))
    changes = {
        "status": TaskResultStatus[states.STATUSES[outcome.transition.target]],
        "finished_at": timezone.now(),
        "_return_value": None if outcome.return_value is None else codec.loads(outcome.return_value),
    }
    for name, value in changes.items():
        object.__setattr__(result, name, value)
    return result


def _task_of(job: Job) -> framework.Task:
    return as_enqueued(registry.get(job.task_path), job, job.backend)


def _result(job: Job, task: framework.Task, *, return_value: Any, **details: Any) -> TaskResult:
    result = JobResult(
        task=task,
        id=str(job.pk),
        enqueued_at=job.enqueued_at,
        args=job.args,
        kwargs=job.kwargs,
        backend=task.backend,
        **details,
    )
    object.__setattr__(result, "_return_value", return_value)
    return result


class History(NamedTuple):
    """The attempts of a job that did not succeed."""

    first: datetime | None = None
    last: datetime | None = None
    errors: list[TaskError] = []
    workers: list[str] = []


def history(job: Job) -> History:
    """Read the attempts with their tracebacks: two queries, however many there are."""
    attempts = job.errors
    if not attempts:
        return History()
    texts = Traceback.objects.in_bulk({attempt.fingerprint for attempt in attempts if attempt.fingerprint})
    return History(
        first=attempts[0].started_at,
        last=attempts[-1].started_at,
        errors=[_error(attempt, getattr(texts.get(attempt.fingerprint), "text", "")) for attempt in attempts],
        workers=[str(attempt.worker or "") for attempt in attempts],
    )


def _error(attempt: Attempt | Failure, traceback: str) -> TaskError:
    """Return an attempt as the framework's error: its class is found by its path."""
    name = attempt.exception_class or class_path(INSTEAD.get(attempt.kind, WorkerDied))
    path = name if "." in name else f"builtins.{name}"
    return TaskError(exception_class_path=path, traceback=f"{traceback}{name}: {attempt.message}\n")


def class_path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


INSTEAD = {Attempt.Kind.INTERRUPTED: Interrupted}  # of an exception, where the body raised none
