"""Read by type checkers in test_types.py: an error is found in each line that says so, and in no other."""

from collections.abc import Coroutine
from datetime import timedelta
from typing import Any, assert_type
from uuid import UUID

from django_jobs import Task, TaskContext, job_options, task
from django_jobs.models import Job


@task
def send(order_id: int, *, copy: bool = False) -> str:
    return f"sent {order_id} {copy}"


@task(max_attempts=5, timeout=timedelta(seconds=30), retry_on=(OSError, ValueError), backoff=[1, 2.5])
def charge(amount: float) -> int:
    return int(amount)


@task
async def fetch(url: str) -> bytes:
    return url.encode()


@task(takes_context=True)
def export(context: TaskContext, name: str, rows: int = 0) -> list[str]:
    context.progress(0, rows)
    return [name]


@task(takes_context=True, queue_name="mail")
async def export_async(context: TaskContext, name: str) -> float:
    return context.attempt / len(name)


@job_options(max_attempts=3)
def neutral(order_id: int) -> str:
    return str(order_id)


# Enqueueing

job = send.enqueue(1)
assert_type(job.return_value, str | None)
assert_type(job.id, UUID)
assert_type(job.wait(timeout=1).return_value, str | None)
as_a_job: Job = job

send.enqueue(1, copy=True)
send.enqueue("1")  # error
send.enqueue()  # error
send.enqueue(1, True)  # error
send.enqueue(1, cpy=True)  # error
job.return_value.upper()  # error: it may be None
assert_type(charge.enqueue(1.5).return_value, int | None)
charge.enqueue(amount="1.5")  # error

# Async

assert_type(fetch.enqueue("https://example.org").return_value, bytes | None)
fetch.enqueue(5)  # error


async def in_async_code() -> None:
    assert_type((await send.aenqueue(1)).return_value, str | None)
    assert_type(await fetch("https://example.org"), bytes)
    assert_type((await job.wait_async()).return_value, str | None)
    await send.aenqueue("1")  # error
    await send.aenqueue_many([send.s("1")])  # error


# Options of a call

assert_type(send.using(priority=5, run_after=timedelta(hours=1)).enqueue(1).return_value, str | None)
send.using(priority=5).enqueue("1")  # error
send.using(priority="high")  # error
send.using(retry_on=OSError)  # error
send.using(priorty=5)  # error

# Labels

assert_type(send.about(job, job).enqueue(1).return_value, str | None)
send.about(job).enqueue("1")  # error
send.using(labels=["tenant 7"]).enqueue(1)
send.using(labels=[7])  # error
assert_type(send.enqueue_many([send.about(job).s(1)])[0].return_value, str | None)

# Many

assert_type([one.return_value for one in send.enqueue_many([send.s(1), {"order_id": 2}])], list[str | None])
send.enqueue_many([send.s("1")])  # error
send.enqueue_many([charge.s("1")])  # error

# The context is left out by callers, and given when the function is called here and now

assert_type(export.enqueue("a", rows=3).return_value, list[str] | None)
export.enqueue(5)  # error
export.enqueue("a", rws=3)  # error
assert_type(export_async.enqueue("a").return_value, float | None)
export_async.enqueue()  # error


def by_hand(context: TaskContext) -> None:
    assert_type(export(context, "a"), list[str])
    later: Coroutine[Any, Any, float] = export_async(context, "a")
    later.close()
    export("a")  # error


# Still functions

assert_type(send(1), str)
send("1")  # error
assert_type(neutral(1), str)
neutral("1")  # error


# Declaring


@task(max_atempts=5)  # error
def slip() -> None: ...


@task(timeout="30")  # error
def wrong() -> None: ...


@job_options(queue_name="mail")  # error
def elsewhere() -> None: ...


def takes_any_task(task: Task[..., Any], other: Task[[int], str]) -> None:
    other.enqueue(1)
    other.enqueue("1")  # error


takes_any_task(charge, charge)  # error
