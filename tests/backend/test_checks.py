"""Checks of TASKS: each mistake is told by ``manage.py check``, with a hint."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest
from django.apps import apps

from django_jobs.backend.checks import PROBLEMS
from tests.settings import FRAMEWORK

JOBS = "django_jobs.backend.JobsBackend"
framework_checks = import_module(f"{FRAMEWORK}.checks")  # manage.py check runs these; the backport's, if installed


def found(settings, **params):
    settings.TASKS = {params.pop("alias", "default"): {"BACKEND": JOBS, **params}}
    return {message.id.partition(".")[2]: message for message in framework_checks.check_tasks()}


def test_an_alias_without_mistakes_raises_nothing(settings):
    assert found(settings, QUEUES=["default", "mail"], OPTIONS={}) == {}


@pytest.mark.parametrize(
    ("params", "id", "text"),
    [
        ({"OPTIONS": {"timeout": 3}}, "E020", 'TASKS["default"]["OPTIONS"] has \'timeout\''),
        ({"QUEUES": "mail"}, "E022", 'TASKS["default"]["QUEUES"] is \'mail\''),
        ({"QUEUES": ["my mail"]}, "E022", "['my mail']"),
        ({"QUEUES": [3]}, "E022", "[3]"),
        ({"QUEUE": ["mail"]}, "W020", 'has the key "QUEUE", which nobody reads'),
        ({"ENQUEUE_ON_COMMIT": True}, "W020", '"ENQUEUE_ON_COMMIT"'),
        ({"alias": "a" * 65}, "E023", "has 65 characters"),
    ],
)
def test_a_mistake_is_told_with_a_hint(settings, params, id, text):
    (message,) = [one for number, one in found(settings, **params).items() if number == id]

    assert text in message.msg
    assert message.hint


def test_a_near_key_is_named(settings):
    assert found(settings, QUEUE=["mail"])["W020"].hint == 'Did you mean "QUEUES"?'


def test_the_backport_beside_the_framework_is_told(settings, monkeypatch):
    monkeypatch.setattr("django.VERSION", (6, 0, 0, "final", 0))
    monkeypatch.setattr(apps, "is_installed", lambda name: name in ("django_jobs", "django_tasks"))

    assert "Import from django.tasks" in found(settings)["W021"].hint


def test_every_problem_has_a_hint():
    assert {"E020", "E021", "E022", "E023", "W020", "W021"} == {id.partition(".")[2] for id in PROBLEMS}
    assert all(one.message and one.hint for one in PROBLEMS.values())


CHECK = """
import django
from django.conf import settings
settings.configure(
    TASKS={{"default": {{"BACKEND": "django_jobs.backend.JobsBackend"}}}}, INSTALLED_APPS={apps!r}, USE_TZ=True,
    CACHES={{"default": {{"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://localhost"}}}},
    DATABASES={{"default": {{"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}}},
)
django.setup()
from {framework} import checks, task
@task
def send(): ...
print([one.id for one in checks.check_tasks()])
"""


@pytest.mark.parametrize(
    ("apps", "ids"),
    [
        ([], ["django_jobs.E021"]),
        (["django_jobs"], []),
    ],
)
def test_an_app_that_is_not_installed_is_told_though_tasks_are_declared(apps, ids):
    program = CHECK.format(apps=apps, framework=FRAMEWORK)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == (repr(ids), "")
