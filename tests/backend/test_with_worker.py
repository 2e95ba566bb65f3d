"""Tasks of Django's framework, run by real workers."""

from __future__ import annotations

import re

import pytest

from django_jobs import states
from django_jobs.models import Job
from tests.app import framework_tasks as tasks
from tests.settings import FRAMEWORK
from tests.worker.conftest import effects, wait_for_state

pytestmark = pytest.mark.django_db(transaction=True)


def test_results_come_back_with_all_that_the_framework_promises(worker):
    told = tasks.tell.using(metadata={"tenant": 3}).enqueue(1, 2)
    added = tasks.plus.using(backend="second", queue_name="mail").enqueue(1, b=2)
    added_async = tasks.plus_async.enqueue(3)
    price = tasks.price.enqueue()
    discarded = tasks.discard.enqueue()
    retried = tasks.fail_twice.enqueue("thrice")
    failed = tasks.fail_always.enqueue()
    told_again = tasks.tell_again.enqueue()
    other = tasks.declared_for_another_backend.using(backend="default").enqueue(21)
    results = [told, added, added_async, price, discarded, retried, failed, told_again, other]

    running = worker().ready()
    for result in results:
        wait_for_state(Job.objects.get(pk=result.id), *states.FINAL)
        result.refresh()
    running.stop()

    assert [str(result.status) for result in results] == ["SUCCESSFUL"] * 4 + ["FAILED", "SUCCESSFUL", "FAILED"] + [
        "SUCCESSFUL"
    ] * 2
    assert all(result.enqueued_at <= result.started_at <= result.finished_at for result in results)
    assert [one.return_value for one in (added, added_async, price, other)] == [3, 4, tasks.Decimal("1.50"), 42]
    check_context(told)
    check_attempts(retried, failed, told_again)
    check_announced(running.output)


def check_context(told):
    assert told.return_value == {
        "id": told.id,
        "job": told.id,
        "attempt": 1,
        "status": "RUNNING",
        "args": [1, 2],
        "workers": told.worker_ids,
        "kinds": ["django_jobs", FRAMEWORK.partition(".")[0]],
    }
    assert Job.objects.get(pk=told.id).progress == {"done": 1, "total": 2, "text": "half"}


def check_attempts(retried, failed, told_again):
    assert (retried.return_value, retried.attempts, len(retried.worker_ids)) == ("at last", 3, 3)
    assert [error.exception_class for error in retried.errors] == [ValueError, ValueError]
    assert retried.errors[0].traceback.startswith("Traceback (most recent call last):\n")
    assert retried.errors[0].traceback.endswith("ValueError: not yet, thrice\n")
    assert retried.started_at < retried.last_attempted_at <= retried.finished_at
    assert (failed.attempts, len(failed.errors), len(failed.worker_ids)) == (2, 2, 2)
    assert told_again.return_value == ["builtins.LookupError"]  # an async body may ask, too


def check_announced(output):
    """Compare what receivers in the worker have heard, and what was logged there, with what happened."""
    assert effects("finished") == sorted(
        f"finished {name} {status} JobsBackend"
        for name, status in [
            ("tell", "SUCCESSFUL"),
            ("plus", "SUCCESSFUL"),
            ("plus_async", "SUCCESSFUL"),
            ("price", "SUCCESSFUL"),
            ("discard", "FAILED"),
            ("fail_twice", "SUCCESSFUL"),
            ("fail_always", "FAILED"),
            ("tell_again", "SUCCESSFUL"),
            ("declared_for_another_backend", "SUCCESSFUL"),
        ]
    )
    assert effects("started fail_twice") == ["started fail_twice RUNNING JobsBackend"] * 3
    assert effects("started fail_always") == ["started fail_always RUNNING JobsBackend"] * 2
    path = re.escape("path=tests.app.framework_tasks.fail_always state=FAILED")
    assert re.search(rf"Task id=\S+ {path}\nTraceback .*\n(?:.*\n)*?ValueError: never", output), output


def test_a_running_result_names_its_worker(worker):
    result = tasks.sleep.enqueue(60)

    worker().ready()
    job = wait_for_state(Job.objects.get(), states.RUNNING)
    result.refresh()

    assert (str(result.status), result.worker_ids, result.attempts) == ("RUNNING", [str(job.worker)], 1)
    assert result.last_attempted_at is not None
    assert result.finished_at is None
