"""Values and errors that a database may not take: every database keeps the same of them, and no mate suffers."""

from __future__ import annotations

import math

import pytest
from django.db import connection

from django_jobs import states
from django_jobs.models import Job
from tests.app import fault_tasks, tasks
from tests.disturb import refusing
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)

STRANGE = {
    "NUL": "a\0b",
    "lone surrogate": "\ud800",
    "astral": "\U0001f600",
    "beyond 64 bits": 2**80,
    "tiny": 5e-324,
    "negative zero": -0.0,
    "tagged": {"$type": "decimal", "value": "x"},
    "deep": [[[[[[[[[["here"]]]]]]]]]],
    "long": "x" * 300_000,
}


def test_strange_values_come_back_as_they_went(burst):
    jobs = {name: fault_tasks.echo.using(metadata={"m": value}).enqueue(value) for name, value in STRANGE.items()}

    burst()

    for name, job in jobs.items():
        job.refresh()
        assert job.state == states.SUCCEEDED, job.last_error
        assert job.args == [STRANGE[name]] and job.return_value == STRANGE[name], name
        assert job.metadata == {"m": STRANGE[name]}
    assert math.copysign(1, jobs["negative zero"].return_value) == -1


MESSAGES = {
    "NUL \0 in it": r"NUL \x00 in it",
    "surrogate \udcff": r"surrogate \udcff",
    "\U0001f600 and \r\n": "\U0001f600 and \r\n",
    "": "",
}


def test_strange_messages_are_kept_escaped(burst):
    jobs = {text: fault_tasks.fail_with.enqueue(text) for text in MESSAGES}

    burst()

    for text, job in jobs.items():
        job.refresh()
        [attempt] = job.errors
        assert (job.state, attempt.message) == (states.FAILED, MESSAGES[text])
        assert job.last_error == " ".join(f"ValueError: {MESSAGES[text]}".split()).rstrip(":")


def test_an_outcome_that_the_database_refuses_is_found_among_its_mates_and_stored_as_failed(worker):
    jobs = fault_tasks.echo.enqueue_many([{"value": "poison" if number == 33 else number} for number in range(60)])

    with refusing("NEW.return_value LIKE '%poison%'"):
        running = worker("--threads", "4")
        for job in jobs:
            job.wait(30)

    poison = jobs.pop(33)
    assert (poison.state, poison.reason, poison.return_value) == (states.FAILED, "outcome not storable", None)
    assert {(job.state, job.attempt, job.claim) for job in jobs} == {(states.SUCCEEDED, 1, 1)}
    assert "was refused by the database" in running.output


def test_an_outcome_that_is_refused_in_every_form_waits_and_holds_up_nobody(worker):
    stuck = tasks.add.enqueue(1, 1)
    with refusing(f"NEW.state <> 'queued' AND OLD.state = 'running' AND NEW.id = '{in_database(stuck)}'"):
        running = worker()
        wait_for(lambda: "was refused by the database" in running.output, 20, "the refusal")
        others = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 20)
        for job in others:
            job.wait(20)
        stuck.refresh()
        assert stuck.state == states.RUNNING
    stuck.wait(20)

    assert (stuck.attempt, stuck.claim) == (1, 1)
    assert Job.objects.filter(state=states.SUCCEEDED, attempt=1).count() >= len(others)


def in_database(job: Job) -> str:
    """Return a job's id as the database holds it."""
    return str(job.pk) if connection.features.has_native_uuid_field else job.pk.hex
