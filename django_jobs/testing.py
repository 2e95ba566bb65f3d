"""Runs, captures and checks jobs in tests: in the test's own process and transaction, with no worker and no Redis."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import DatabaseError, connections
from django.test import override_settings

from . import backlog, codec, following, moves, signals, states
from .ids import job_id
from .models import DbNow, Job, db_now, frozen_clock
from .moves import Outcome
from .scheduler.fire import fire
from .tasks import Task, TaskContext, registry
from .tasks.calls import call_text
from .worker import hygiene
from .worker.executor import Work, attempt, body_async, failed_somehow

__all__ = ["JobsMixin", "assert_enqueued", "captured_jobs", "run_due_schedules", "run_jobs", "without_redis"]

__unittest = True  # unittest leaves our frames out of what it shows of a failure

_worker = job_id()


def run_jobs(*, ahead: timedelta = timedelta(0), raise_errors: bool = True, limit: int = 1000) -> list[Job]:
    """Run all jobs that are due, and those that they enqueue, until none is left; return them as they ended.

    ``ahead`` also runs, without waiting, what becomes due within that time: by ``run_after``, or for another attempt.
    An error of a job that fails for good is raised here, unless ``raise_errors`` is off. ``limit`` bounds the runs.
    """
    done: list[Job] = []
    while job := _claim_next(ahead):
        if len(done) == limit:
            raise AssertionError(f"{limit} runs, and still {call_text(job)} is due. Does a job enqueue itself?")
        done.append(job)
        _run(job, raise_errors)
    return done


@contextmanager
def captured_jobs(task: Task | None = None) -> Iterator[list[Job]]:
    """Give a list to which the jobs are added that are enqueued in the block: all, or those of the task."""
    jobs: list[Job] = []

    def note(sender: type, job: Job, **_: Any) -> None:
        if task is None or job.task_path == task.module_path:
            jobs.append(job)

    signals.job_enqueued.connect(note, weak=False)
    try:
        yield jobs
    finally:
        signals.job_enqueued.disconnect(note)


def assert_enqueued(
    task: Task,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    count: int = 1,
    **columns: Any,
) -> list[Job]:
    """Fail unless the task was enqueued ``count`` times with that call, whatever became of it; return these jobs.

    Neither ``args`` nor ``kwargs``: with any call. ``columns`` are other values of the job, such as ``queue_name``.
    """
    __tracebackhide__ = True  # pytest leaves this frame out of what it shows of a failure
    jobs = list(Job.objects.filter(task_path=task.module_path, **columns).order_by("pk"))
    if args is not None or kwargs is not None:
        wanted = _call(task, args or (), kwargs or {})
        jobs = [job for job in jobs if _call(task, job.args, job.kwargs) == wanted]
    if len(jobs) != count:
        raise AssertionError(_disappointment(task, args, kwargs, columns, count, len(jobs)))
    return jobs


def run_due_schedules(*, at: datetime | None = None) -> list[Job]:
    """Enqueue the jobs of all schedules that are due, now or at that moment; return them, to be run by ``run_jobs``."""
    with frozen_clock(at or db_now()), captured_jobs() as jobs:
        fire()
    return jobs


def without_redis() -> override_settings:
    """Return a context manager, and decorator, under which no job is sent to Redis."""
    return override_settings(DJANGO_JOBS=getattr(settings, "DJANGO_JOBS", {}) | {"CACHE": None})


class JobsMixin:
    """For Django's TestCase: the functions of this module as methods, and no Redis."""

    run_jobs = staticmethod(run_jobs)
    captured_jobs = staticmethod(captured_jobs)
    assert_enqueued = staticmethod(assert_enqueued)
    run_due_schedules = staticmethod(run_due_schedules)

    @classmethod
    def setUpClass(cls) -> None:
        cls.enterClassContext(without_redis())
        super().setUpClass()


# Running


def _claim_next(ahead: timedelta) -> Job | None:
    """Claim the most urgent job of all queues that are not paused."""
    if ahead:
        soon = Job.objects.filter(state__in=states.PROMOTE.sources, run_after__lte=DbNow() + ahead)
        soon.update(run_after=DbNow())
    moves.promote()
    queues = backlog.unpaused(list(backlog.queues_with_work()))
    heads = [backlog.claimable_of(queue).values_list("priority", "pk").first() for queue in queues]
    ids = [pk for _, pk in sorted(filter(None, heads), key=lambda head: (-head[0], head[1]))[:1]]
    return next(iter(moves.claim(ids, worker=_worker, slot=0, alone=True)), None)


def _run(job: Job, raise_errors: bool) -> None:
    task = registry.get(job.task_path)
    context = TaskContext(job)
    work = Work(job=job, task=task, context=context, area=None, index=0, interrupter=Uninterrupted())
    work.started = time.monotonic()
    signals.job_started.send_robust(Job, job=job)
    outcome, error = _attempt(work)
    if outcome.transition is states.RETRY:
        signals.job_retried.send_robust(Job, job=job, outcome=outcome)
    signals.job_finished.send_robust(Job, job=job, outcome=outcome)
    if not work.recorded:
        following.record([outcome])
    if Job.objects.filter(pk=job.pk).exists():  # not with keep=0
        job.refresh()
    if error is not None and outcome.transition is states.FAIL and raise_errors:
        error.add_note(f"Raised by the job {call_text(job)}, attempt {job.attempt}.")
        raise error


def _attempt(work: Work) -> tuple[Outcome, BaseException | None]:
    """Run the body as a worker does; return what it raised besides."""
    savepoints = [(one, one.savepoint()) for one in connections.all(initialized_only=True) if one.in_atomic_block]
    try:
        run = async_to_sync(body_async) if work.task.is_async else attempt
        return hygiene.in_fresh_context(run, work), None
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, DatabaseError):  # without a transaction around it, it would spoil nothing else
            for connection, savepoint in savepoints:
                connection.set_rollback(False)
                connection.savepoint_rollback(savepoint)
        error.__traceback__ = sys.exc_info()[2].tb_next
        return failed_somehow(work, error), error


class Uninterrupted:
    """An interrupter for bodies that nobody interrupts: there are no timeouts in tests."""

    def arm(self, body: object) -> None: ...

    def disarm(self) -> None: ...


# Comparing


def _call(task: Task, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call's arguments by name, as the body would get them."""
    args, kwargs = codec.loads(codec.dumps(list(args))), codec.loads(codec.dumps(dict(kwargs)))
    bound = task.bind(args, kwargs)
    bound.apply_defaults()
    return dict(bound.arguments)


def _disappointment(task: Task, args: Any, kwargs: Any, columns: dict, count: int, found: int) -> str:
    wanted = task.name
    if args is not None or kwargs is not None:
        wanted = call_text(Job(task_path=task.module_path, args=list(args or ()), kwargs=dict(kwargs or {})))
    with_columns = "".join(f", {name}={value!r}" for name, value in columns.items())
    there = [f"  {call_text(job)}  {job.state}, queue {job.queue_name}" for job in Job.objects.order_by("pk")[:50]]
    said = f"{wanted}{with_columns} was enqueued {found} times, not {count}. Enqueued are:"
    return "\n".join([said, *(there or ["  no jobs"])])
