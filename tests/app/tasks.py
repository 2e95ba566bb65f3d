"""Tasks for the suite's workers."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import threading
import time
from pathlib import Path

from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.utils import timezone, translation

from django_jobs import Discard, JobCancelled, Retry, TaskTimeout, task
from tests.app.models import Effect


@task
def add(a, b):
    return a + b


@task
def effect(key):
    Effect.objects.create(key=key)


@task(timeout=None)
def sleep(seconds, key=""):
    """Leave an effect at the start, sleep, and leave another at the end."""
    Effect.objects.create(key=f"{key} started")
    time.sleep(seconds)
    Effect.objects.create(key=f"{key} ended")


@task(timeout=None)
def sleep_quietly(seconds, path):
    """Leave a file at the start, and sleep, without the database."""
    Path(path).touch()
    time.sleep(seconds)
    return "slept"


@task
def fail(message="no"):
    raise ValueError(message)


@task(max_attempts=3, backoff=[0.1, 0.2])
def fail_twice(key):
    Effect.objects.create(key=key)
    if Effect.objects.filter(key=key).count() < 3:
        raise ValueError("not yet")
    return "at last"


@task(max_attempts=3, backoff=60)
def fail_twice_slowly(key):
    return fail_twice(key)


@task(max_attempts=5, backoff=0, retry_on=OSError, give_up_on=(FileNotFoundError,))
def raise_named(name):
    raise {"OSError": OSError, "ValueError": ValueError, "FileNotFoundError": FileNotFoundError}[name]("told to")


@task(max_attempts=4, backoff=60)
def fail_after(seconds, key):
    Effect.objects.create(key=key)
    time.sleep(seconds)
    raise ValueError("as always")


def stop_at_second(exception, job):
    return None if job.attempt >= 2 else 0


@task(max_attempts=9, backoff=stop_at_second)
def backoff_by_function():
    raise ValueError("again")


@task(max_attempts=2)
def retry_once(key):
    Effect.objects.create(key=key)
    raise Retry("please", after=0)


@task
def discard():
    raise Discard("the order is gone")


@task(takes_context=True)
def tell_context(context, word):
    return {"word": word, "attempt": context.attempt, "job": str(context.job.id)}


@task(takes_context=True, timeout=None)
def report_progress(context, until):
    """Report progress until an effect of that key exists."""
    for done in range(10_000):
        context.progress(done, 10_000, "counting")
        if Effect.objects.filter(key=until).exists():
            return done
        time.sleep(0.02)


@task(timeout=0.5)
def too_slow(key):
    Effect.objects.create(key=f"{key} started")
    try:
        time.sleep(30)
    except TaskTimeout:
        Effect.objects.create(key=f"{key} interrupted")
        raise


@task(timeout=0.5)
def too_slow_in_python(key):
    Effect.objects.create(key=f"{key} started")
    while True:
        sum(range(1000))


@task(timeout=2)
def deaf(key):
    """Never listen to a timeout."""
    Effect.objects.create(key=f"{key} started")
    while True:
        try:
            time.sleep(0.05)
        except BaseException:
            Effect.objects.create(key=f"{key} did not listen")


@task(timeout=None)
def wait_to_be_cancelled(key):
    Effect.objects.create(key=f"{key} started")
    try:
        time.sleep(60)
    except JobCancelled:
        Effect.objects.create(key=f"{key} told")
        raise


@task(timeout=None)
async def wait_async_to_be_cancelled(key):
    await Effect.objects.acreate(key=f"{key} started")
    await asyncio.sleep(60)


@task
async def add_async(a, b):
    await asyncio.sleep(0)
    return a + b


@task
async def sleep_async(seconds):
    await asyncio.sleep(seconds)


@task(timeout=0.3)
async def too_slow_async():
    await asyncio.sleep(60)


@task
async def effect_async(key):
    await Effect.objects.acreate(key=key)


@task
async def leave_a_task_behind(key):
    async def later():
        await asyncio.sleep(0.5)
        await Effect.objects.acreate(key=key)

    asyncio.get_running_loop().create_task(later())


@task
def make_a_mess():
    """Leave everything changed that the next job could stumble over."""
    translation.activate("de")
    timezone.activate("Asia/Tokyo")
    os.chdir("/")
    transaction.set_autocommit(False)
    Effect.objects.create(key="of a transaction left open")
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)


@task
def look_around():
    return {
        "language": translation.get_language(),
        "zone": timezone.get_current_timezone_name(),
        "folder": os.getcwd(),
        "autocommit": connection.get_autocommit() if connection.connection else True,
        "main_thread": threading.current_thread() is threading.main_thread(),
    }


@task
def close_connection():
    connection.close()


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no words")


RAISED = {
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "GeneratorExit": GeneratorExit,
    "CancelledError": asyncio.CancelledError,
    "MemoryError": MemoryError,
    "RecursionError": RecursionError,
    "Unspeakable": Unspeakable,
}


@task
def raise_base(name):
    raise RAISED[name]("of a body")


@task
def raise_strange_text():
    raise ValueError("NUL \0, surrogate \ud800, long " + "x" * 100_000)


@task
def raise_long_chain():
    error = ValueError("the first")
    for _ in range(5_000):
        following = ValueError("another")
        following.__cause__ = error
        error = following
    raise error


@task
def return_strange(kind):
    return {"nan": float("nan"), "object": object(), "huge": "x" * 2_000_000, "surrogate": "\ud800\0"}[kind]


@task
def kill_own_process():
    os.kill(os.getpid(), signal.SIGKILL)


@task
def segfault():
    ctypes.string_at(0)


@task
def exit_hard():
    os._exit(7)


@task(timeout=None)
def hold_the_interpreter(seconds):
    """Keep the interpreter lock, as a badly behaved extension does."""
    ctypes.PyDLL(None).sleep(seconds)


@task(atomic=True)
def atomic_effect(key, error=False):
    Effect.objects.create(key=key)
    if error:
        raise ValueError("roll back")


@task
def grow(megabytes):
    _hoard.append(bytearray(megabytes * 2**20))
    return os.getpid()


_hoard: list[bytearray] = []


@task
def which_process():
    return os.getpid()


@task
def enqueue_another(key):
    effect.enqueue(key)


@task(keep=0)
def keep_nothing(key):
    Effect.objects.create(key=key)


@task(takes_context=True, max_attempts=None, backoff=0.05, max_losses=10_000, timeout=None)
def log_start_and_end(context, seconds):
    """Write both to a file that outlives every crash: the record that the invariants are checked against."""
    job = context.job
    log(f"start {job.id} {job.claim}")
    time.sleep(seconds)
    log(f"end {job.id} {job.claim}")


def log(line):
    with open(os.environ["DJANGO_JOBS_TEST_LOG"], "ab", buffering=0) as file:
        file.write(f"{line} {time.time()}\n".encode())  # one write of a short line is not torn apart


logger = logging.getLogger(__name__)


@task(takes_context=True, max_attempts=2, backoff=0)
def log_lines(context, count, more=""):
    """Log lines, and fail the first time if there is nothing more to say."""
    for number in range(count):
        context.log(f"line {number}{more}")
    if context.attempt == 1 and not more:
        raise ValueError("again")


@task
def log_by_logging(word):
    logger.warning(word)


@task(capture_logs=True)
def log_by_logging_captured(word):
    logger.warning("%s", word)
    logger.debug("never")


@task(capture_logs="WARNING")
async def log_by_logging_async(word):
    await sync_to_async(logger.warning)("%s", word)


@task(takes_context=True, timeout=None)
def log_until(context, key):
    while not Effect.objects.filter(key=key).exists():
        context.log("still here")
        time.sleep(0.05)


@task
def note_success(job_id):
    Effect.objects.create(key=f"success {job_id}")


@task
def note_failure(job_id):
    Effect.objects.create(key=f"failure {job_id}")


@task
def note_retry(job_id):
    Effect.objects.create(key=f"retry {job_id}")


@task(max_attempts=2, backoff=0, on_success=note_success, on_failure=note_failure, on_retry=note_retry)
def with_callbacks(what):
    if what == "fail":
        raise ValueError("as told")


@task
def violate():
    """Be refused by the database."""
    Effect.objects.create(key="never seen")
    Effect.objects.create(key=None)


@task
def enqueue_itself():
    enqueue_itself.enqueue()
