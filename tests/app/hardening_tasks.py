"""Tasks whose bodies are as unkind to their worker as a body can be."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from django.contrib.auth.models import Permission

from django_jobs import Discard, task
from tests.app.models import Effect


@task
def remove_working_folder(key):
    folder = tempfile.mkdtemp()
    os.chdir(folder)
    shutil.rmtree(folder)
    Effect.objects.create(key=key)


class MuteDiscard(Discard):
    def __str__(self):
        raise RuntimeError("no words")


class MuteError(Exception):
    def __str__(self):
        raise SystemExit("no words")


@task
def discard_without_words():
    raise MuteDiscard("the order is gone")


@task
def fail_without_words():
    raise MuteError("no")


def exiting_backoff(exception, job):
    raise SystemExit(1)


@task(max_attempts=3, backoff=exiting_backoff)
def fail_with_a_backoff_that_exits():
    raise ValueError("no")


@task(takes_context=True, timeout=None)
def tell_strange_progress(context, path):
    """Say that NaN is done, and go on until the file exists."""
    context.progress(float("nan"))
    Path(f"{path}.started").touch()
    await_file(path)


@task(timeout=None)
def hold(path):
    """Leave a file at the start, and another at the end, which comes when a third exists; without the database."""
    Path(f"{path}.started").touch()
    await_file(path)
    Path(f"{path}.ended").touch()


def await_file(path):
    while not os.path.exists(path):
        time.sleep(0.02)


@task(atomic=True)
def break_a_deferred_constraint(key):
    """Leave the database a row that it refuses only when it commits."""
    Effect.objects.create(key=key)
    Permission.objects.create(name="x", codename="x", content_type_id=999_999)


@task(timeout=None)
async def exit_in_a_task_of_its_own():
    async def leave():
        raise SystemExit(1)

    await asyncio.gather(leave())


@task(timeout=None)
async def sleep_async_with_effect(seconds, key):
    await Effect.objects.acreate(key=key)
    await asyncio.sleep(seconds)


@task
def exit_with_0():
    os._exit(0)


@task
def which_are_loaded(modules):
    return [name for name in modules if name in sys.modules]
