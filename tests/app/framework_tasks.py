"""Tasks that are declared by Django's framework, for the tests of its backend."""

from __future__ import annotations

import time
from decimal import Decimal

import django

from django_jobs import Discard, job_options
from tests.app.models import Effect

if django.VERSION >= (6, 0):
    from django.tasks import task
    from django.tasks.signals import task_finished, task_started
else:
    from django_tasks import task
    from django_tasks.signals import task_finished, task_started


@task
def plus(a, b=1):
    return a + b


@task
async def plus_async(a, b=1):
    return a + b


@task(queue_name="mail", priority=7)
def send(address):
    """Has options of the framework."""


@task
@job_options(max_attempts=3, backoff=0, timeout=30, expires=3600)
def fail_twice(key):
    Effect.objects.create(key=key)
    if Effect.objects.filter(key=key).count() < 3:
        raise ValueError(f"not yet, {key}")
    return "at last"


@task
@job_options(max_attempts=2, backoff=0)
async def fail_always():
    raise ValueError("never")


@task(takes_context=True)
def tell(context, *args):
    """Return what the context says of this attempt."""
    context.progress(1, 2, "half")
    result = context.task_result
    return {
        "id": result.id,
        "job": str(context.job.id),
        "attempt": context.attempt,
        "status": str(result.status),
        "args": result.args,
        "workers": result.worker_ids,
        "kinds": [kind.__module__.partition(".")[0] for kind in type(context).__mro__[1:3]],
    }


@task(takes_context=True)
@job_options(max_attempts=2, backoff=0)
async def tell_again(context):
    """Fail once, then return what the context knows of that."""
    if context.attempt == 1:
        raise LookupError("first")
    return [error.exception_class_path for error in context.task_result.errors]


@task
def discard():
    raise Discard("no need")


@task
def sleep(seconds):
    time.sleep(seconds)


@task
def price():
    return Decimal("1.50")


@task(backend="foreign")
@job_options(max_attempts=7)
def declared_for_another_backend(a):
    return a * 2


def note(word):
    """Return a receiver that leaves an effect, with the ORM, for what the framework's signals say in a worker."""

    def receiver(sender, task_result, **_):
        Effect.objects.create(key=f"{word} {task_result.task.name} {task_result.status} {sender.__name__}")

    return receiver


note_started, note_finished = note("started"), note("finished")
task_started.connect(note_started)
task_finished.connect(note_finished)
