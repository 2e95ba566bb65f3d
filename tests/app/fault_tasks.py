"""Tasks whose bodies meet the faults of the machine, the database and the deploy."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
from pathlib import Path

from django_jobs import task
from tests.app.hardening_tasks import await_file
from tests.app.models import Effect
from tests.app.tasks import log


@task(takes_context=True, timeout=None, max_losses=10_000)
def log_until(context, path):
    """Write the start to the log, and the end once the file exists; without the database."""
    job = context.job
    log(f"start {job.id} {job.claim}")
    await_file(path)
    log(f"end {job.id} {job.claim}")


@task(atomic=True, takes_context=True, max_attempts=None, backoff=0.05, max_losses=10_000, timeout=None)
def atomic_effect(context, key, path=None):
    """Leave an effect, and wait for the file if one is named, in the outcome's transaction."""
    job = context.job
    log(f"start {job.id} {job.claim}")
    Effect.objects.create(key=key)
    if path:
        await_file(path)
    log(f"end {job.id} {job.claim}")


@task(atomic=True, max_attempts=5, backoff=0.05)
def rename_effect_atomically(pk, path):
    """Lock an effect's row, wait for the file, and leave the job's own row to be locked by the outcome."""
    Effect.objects.filter(pk=pk).update(key="renamed")
    Path(f"{path}.started").touch()
    await_file(path)


@task
def open_many_files(count):
    """Leave so many descriptors open that the next ones have high numbers."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    _open.extend(os.open(os.devnull, os.O_RDONLY) for _ in range(count))
    return max(_open)


_open: list[int] = []


@task
def exhaust_memory():
    """Take all the memory that the system gives to this process, in small pieces."""
    limits = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, limits[1]))
    hoard = []
    try:
        while True:
            hoard.append(bytes(10_000))
    finally:
        hoard.clear()
        resource.setrlimit(resource.RLIMIT_AS, limits)


@task(timeout=2)
def swallow_every_exception(key):
    """Do as careless code does: whatever goes wrong, try again."""
    Effect.objects.create(key=key)
    while True:
        try:
            raise ValueError("no")
        except Exception:
            pass


@task(timeout=None)
def forget_sigterm(path=None):
    """Undo the worker's own handler, as some libraries do, and wait for the file if one is named."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if path:
        Path(f"{path}.started").touch()
        await_file(path)


@task
async def leave_last_words(key):
    """Leave a task behind that needs a while to end."""

    async def speak():
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.2)
            await Effect.objects.acreate(key=key)

    asyncio.get_running_loop().create_task(speak())
    await asyncio.sleep(0.05)


@task
async def leave_a_deaf_task_behind():
    async def stay():
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    asyncio.get_running_loop().create_task(stay())
    await asyncio.sleep(0.05)


@task
def fail_with(text):
    raise ValueError(text)


@task
def echo(value):
    return value


@task(max_attempts=2, backoff=0)
def fail_at(place):
    """Fail at one of many places, each of which has a traceback of its own."""
    exec(compile("\n" * place + "raise ValueError('no')", "places", "exec"))
