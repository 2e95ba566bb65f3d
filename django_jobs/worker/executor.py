"""Runs one attempt of a job and returns its outcome; whatever the body does, nothing is raised."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import time
from dataclasses import dataclass, field
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext, sync_to_async
from django.db import transaction

from .. import codec, failpoints, signals, states
from ..conf import jobs_settings, seconds
from ..exceptions import Discard, Interrupted, InvalidTask, JobCancelled, NotEncodable, TaskTimeout
from ..following import callback_of, record
from ..middleware import wrapped
from ..models import Job, database
from ..moves import RESULT, Outcome, lock_held
from ..retries import pause_before_retry
from ..tasks import Task, TaskContext
from ..tasks.definition import setting
from ..tasks.options import UNSET
from . import hygiene
from .failures import class_path, describe, one_line, storable
from .interrupts import Interrupter
from .logs import captured
from .slots import NEVER, Area

REASON_LENGTH = 200
LAST_WORDS_SECONDS = 5.0  # for the tasks that an async body has left behind, once they are cancelled
logger = logging.getLogger("django_jobs.worker")


@dataclass(kw_only=True, eq=False)
class Work:
    """A claimed job on its way through a child."""

    job: Job
    task: Task
    context: TaskContext
    area: Area
    index: int  # in the area
    interrupter: Interrupter | None = None  # of the thread that runs the body
    coroutine: asyncio.Task | None = None  # that runs the body
    claimed: float = 0.0  # monotonic
    started: float = 0.0  # monotonic; 0: not started
    interrupted_by: type[Interrupted] | None = None
    outcome: Outcome | None = None
    recorded: bool = False  # with its own transaction, not by the engine
    counted: bool = True  # ... and accepted
    lapse: int = 0  # of the worker, when the job was claimed
    offspring: set[asyncio.Task] = field(default_factory=set)

    @property
    def soft_deadline(self) -> float:
        """When TaskTimeout is raised in the body; monotonic."""
        return NEVER if self.job.timeout is None or not self.started else self.started + self.job.timeout

    def interrupt(self, exception: type[Interrupted]) -> None:
        """Raise the exception in the body, once."""
        if self.interrupted_by is not None:
            return
        if self.coroutine is not None:
            self.interrupted_by = exception
            self.coroutine.get_loop().call_soon_threadsafe(self.coroutine.cancel)
        elif self.interrupter is not None and self.interrupter.interrupt(self, exception):
            self.interrupted_by = exception


def execute(work: Work, interrupter: Interrupter) -> Outcome:
    """Run a body in this thread."""
    work.interrupter = interrupter
    try:
        begin(work)
        outcome = hygiene.in_fresh_context(attempt, work)
    except BaseException as error:
        interrupter.disarm()
        outcome = failed_somehow(work, error)
        finish(work, outcome)  # here, so that receivers of the signal find the exception in sys.exc_info()
    else:
        finish(work, outcome)
    return outcome


def finish(work: Work, outcome: Outcome) -> None:
    """Say that the body has ended, and clean up behind it; never raise."""
    try:
        end(work, outcome)
        hygiene.clean_up()
    except BaseException:
        logger.exception("after job %s", work.job.id)


def failed_somehow(work: Work, error: BaseException) -> Outcome:
    """Do as ``failed``, whatever the user's own classes and backoffs raise meanwhile."""
    try:
        return failed(work, error)
    except BaseException as broken:
        logger.warning("the failure of job %s could not be told", work.job.id, exc_info=True)
        return outcome(
            work,
            states.FAIL,
            reason=f"its failure could not be told: {class_path(type(broken))}"[:REASON_LENGTH],
            last_error=class_path(type(error))[:500],
        )


def begin(work: Work) -> None:
    """Leave word in shared memory that the body starts: from here on it may have had effects."""
    timeout = work.job.timeout
    hard = NEVER if timeout is None else time.monotonic() + timeout + seconds(jobs_settings.HARD_TIMEOUT_AFTER)
    work.started = work.area.start(work.index, hard)
    failpoints.hit("before_body")
    signals.job_started.send_robust(Job, job=work.job)


def end(work: Work, outcome: Outcome) -> None:
    """Leave word that the body has ended; until its outcome is recorded it counts as started."""
    is_plain = outcome.transition is states.SUCCEED and not (outcome.return_value or outcome.progress or outcome.reason)
    work.area.finish(work.index, succeeded=is_plain)
    failpoints.hit("after_body")
    if outcome.transition is states.RETRY:
        signals.job_retried.send_robust(Job, job=work.job, outcome=outcome)
    signals.job_finished.send_robust(Job, job=work.job, outcome=outcome)


def attempt(work: Work) -> Outcome:
    """Run the body inside its middleware, with its outcome in the same transaction if it is atomic."""
    with captured(work.task, work.context), wrapped("execute", work.context):
        if not work.task.atomic:
            return succeeded(work, call(work))
        return attempt_atomic(work)


def attempt_atomic(work: Work) -> Outcome:
    """Run the body and record its outcome in one transaction: both happen, or neither."""
    with transaction.atomic(using=database()):
        outcome = succeeded(work, call(work))
        is_ours = lock_held(work.job) and record([outcome])
        if not is_ours:
            transaction.set_rollback(True, using=database())  # somebody else has the job now
        failpoints.hit("atomic_before_commit")
    failpoints.hit("atomic_after_commit")
    work.recorded = True  # only now: a COMMIT may fail
    work.counted = bool(is_ours)
    return outcome


def call(work: Work) -> Any:
    """Call the function; only here can it be interrupted."""
    args, kwargs = arguments(work)
    work.interrupter.arm(work)
    try:
        return work.task.func(*args, **kwargs)
    finally:
        work.interrupter.disarm()


def arguments(work: Work) -> tuple[list[Any], dict[str, Any]]:
    if work.job.parent is not None:
        check_result(work.job)
    args = [work.context, *work.job.args] if work.task.takes_context else work.job.args
    return args, work.job.kwargs


def check_result(job: Job) -> None:
    """Raise InvalidTask when a follower was queued by hand, before there was the result that it asks for."""
    if RESULT in codec.dumps([job.args, job.kwargs]):
        raise InvalidTask(f"RESULT is what job {job.parent} returns, and that has not succeeded: retry that one.")


_current: contextvars.ContextVar[Work] = contextvars.ContextVar("django_jobs_work")


async def execute_async(work: Work) -> Outcome:
    """Run an async body on this loop."""
    _current.set(work)
    begin(work)
    try:
        outcome = await attempt_async(work)
    except BaseException as error:
        if isinstance(error, asyncio.CancelledError) and work.interrupted_by:
            error = work.interrupted_by().with_traceback(error.__traceback__)
        outcome = failed_somehow(work, error)
        end(work, outcome)  # here: as in execute
    else:
        end(work, outcome)
    return outcome


async def attempt_async(work: Work) -> Outcome:
    """Run the body inside its middleware, its sync parts in a thread of its own."""
    async with ThreadSensitiveContext() as sync_thread:
        try:
            return await body_async(work)
        finally:
            await leave_nothing_behind(work, sync_thread)


async def body_async(work: Work) -> Outcome:
    with captured(work.task, work.context), wrapped("execute", work.context):
        args, kwargs = arguments(work)
        return succeeded(work, await work.task.func(*args, **kwargs))


async def leave_nothing_behind(work: Work, sync_thread: ThreadSensitiveContext) -> None:
    """End the body's own tasks, and clean the thread that its sync code ran in, if it had one."""
    await end_offspring(work)
    if sync_thread in SyncToAsync.context_to_thread_executor:
        await asyncio.shield(sync_to_async(_clean_thread)())


async def end_offspring(work: Work) -> None:
    """Cancel the tasks that a body has left behind, and give them a bounded time for their last words."""
    end = time.monotonic() + LAST_WORDS_SECONDS
    while (left := [task for task in work.offspring if not task.done()]) and time.monotonic() < end:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=end - time.monotonic())  # ... and again: a last word may be another task
    for task in left:
        logger.warning("job %s has left a task behind that does not heed its cancellation: %r", work.job.id, task)


def _clean_thread() -> None:
    hygiene.clean_up()
    hygiene.close_connections()


def task_factory(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> asyncio.Task:
    """Make tasks that the body they belong to knows, so that none outlives it."""
    task = asyncio.Task(coroutine, loop=loop, **options)
    work = _current.get(None)
    if work is not None:
        work.offspring.add(task)
        task.add_done_callback(work.offspring.discard)
    return task


def succeeded(work: Work, value: Any) -> Outcome:
    """Return the outcome of a body that returned; a value that cannot be stored does not undo its effects."""
    text, reason = None, ""
    try:
        text = None if value is None else codec.dumps(value)
        if text is not None and len(text) > jobs_settings.MAX_RESULT_BYTES:
            text, reason = None, f"return value not kept: {len(text):,} bytes are more than MAX_RESULT_BYTES"
    except NotEncodable as error:
        reason = f"return value not kept: it {error}"
    except BaseException as error:  # of a user's class: a broken __str__ or __iter__
        reason = f"return value not kept: {one_line(error)}"
    return outcome(work, states.SUCCEED, return_value=text, reason=storable(reason, REASON_LENGTH))


def failed(work: Work, error: BaseException) -> Outcome:
    """Return the outcome of a body that raised: another attempt, the end, or a wish to be left alone."""
    match error:
        case Discard():
            return outcome(work, states.DISCARD, reason=storable(f"discarded: {error}", REASON_LENGTH))
        case JobCancelled():
            return outcome(work, states.STOP, reason="cancelled while running")
    job = work.job
    if isinstance(error, TaskTimeout) and not error.args:  # raised by us, in the middle of the body
        error.args = (f"still running after its timeout of {job.timeout:g} s",)
    pause = pause_after(job, work.task, error)
    details = {"last_error": storable(one_line(error), 500), "failure": describe(error)}
    if pause is not None:
        return outcome(work, states.RETRY, delay=pause, **details)
    exhausted = job.max_attempts is not None and job.failures + 1 >= job.max_attempts
    reason = "no attempts left" if exhausted else f"not retried after {class_path(type(error))}"
    return outcome(work, states.FAIL, reason=reason[:REASON_LENGTH], **details)


def pause_after(job: Job, task: Task | None, error: BaseException) -> float | None:
    """Return the seconds until the next attempt by the task's rules, or None when there is to be none."""
    rules = {"retry_on": task.retry_on, "give_up_on": task.give_up_on} if task else {}
    return pause_before_retry(
        error,
        job,
        failures=job.failures + 1,
        max_attempts=job.max_attempts,
        backoff=setting("BACKOFF", task.backoff if task else UNSET),
        **rules,
    )


def timed_out(job: Job, task: Task | None, started: float) -> Outcome:
    """Return the outcome of a body whose process had to be killed for its timeout."""
    error = TaskTimeout(f"killed: still running {time.monotonic() - started:.0f} s after its start")
    work = Work(job=job, task=task, context=TaskContext(job), area=None, index=0, started=started)
    return failed(work, error)


def succeeded_before_death(job: Job, task: Task | None, started: float) -> Outcome:
    """Return the outcome of a body that had returned, with nothing to keep, when its process died."""
    return outcome(
        Work(job=job, task=task, context=TaskContext(job), area=None, index=0, started=started), states.SUCCEED
    )


def outcome(work: Work, transition: states.Transition, **details: Any) -> Outcome:
    return Outcome(
        transition=transition,
        job=work.job,
        started=work.started,
        finished=time.monotonic(),
        progress=work.context.take_progress(),
        log=work.context.take_log(),
        callback=callback_of(work.task, transition),
        keep=keep(work.task, transition.target),
        **details,
    )


def keep(task: Task | None, state: str) -> float | None:
    """Return the seconds for which a finished job is kept; None: for ever."""
    if task is None or task.keep is UNSET:
        return jobs_settings.retention.get(state)
    return seconds(task.keep)
