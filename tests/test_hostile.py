"""Whatever is stored stays text on every page, in every line and in JSON; what is secret is on none."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import timedelta
from html.parser import HTMLParser
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import models, transaction
from django.test import Client

from django_jobs import broker
from django_jobs.backend.results import result_of
from django_jobs.broker.connection import is_url
from django_jobs.management import health
from django_jobs.management.verbs import VERBS
from django_jobs.models import Attempt, EncodedField, Job, JobLabel, Queue, Schedule, Traceback, Worker, db_now
from django_jobs.worker.failures import describe
from django_jobs.worker.summary import redis, redis_problems
from tests.app import admin_tasks, framework_tasks
from tests.test_admin import text
from tests.test_run_task import form as run_form
from tests.test_schedule_admin import form
from tests.test_security import PAGES, address

pytestmark = pytest.mark.django_db

MARKUP = "'\"></a><hostile onload=x>{{7|add:7}}{%x%}\x1b[2J\u202e\n\x85"
LONG_MARKUP = MARKUP + "<hostile>" * 500
SCRIPT = "javascript:alert(1)//<hostile>"


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


def filled(model: type[models.Model], hostile: str, **values: Any) -> models.Model:
    """Save a row with the text in each of its columns that takes any text."""
    for column in model._meta.concrete_fields:
        if isinstance(column, EncodedField):
            values.setdefault(column.name, {hostile: [hostile, "\0\ud800"]})
        elif isinstance(column, models.CharField | models.TextField) and not column.choices:
            values.setdefault(column.name, hostile[: column.max_length])
    return model.objects.bulk_create([model(**values)])[0]  # without save(), which would refuse the rule of a schedule


def hostile_rows(hostile: str) -> dict[str, models.Model]:
    """Return rows by the names that ``address`` knows."""
    now = db_now()
    call = {"args": [hostile, "\0\ud800"], "kwargs": {hostile: hostile, "amount": {hostile: hostile}}}
    progress = {"done": 1, "total": 2, "text": hostile}
    filled(Traceback, hostile, fingerprint="f1")
    worker = filled(Worker, hostile, id=uuid4(), pid=1, alive_until=now + timedelta(days=1), queues=[hostile])
    schedule = filled(Schedule, hostile, **call, declared=None, key=None, next_due_at=now)
    rule = {"cron": "0 7 * * *", "timezone": ""}
    declared = filled(
        Schedule, hostile, **call, **rule, key="x", name="y", declared={"queue_name": "x", "cron": hostile}
    )
    states = {"job": "failed", "running job": "running"}
    jobs = {
        name: filled(
            *(Job, hostile),
            **call,
            progress=progress,
            state=state,
            finished_at=now if state == "failed" else None,
            worker=worker.pk,
            schedule=schedule,
            attempt=1,
        )
        for name, state in states.items()
    }
    for job in jobs.values():
        JobLabel.objects.create(job=job, label=hostile[:200])
        JobLabel.objects.create(job=job, label=f"django_jobs.queue:{hostile[:100]}")
        filled(Attempt, hostile, job=job, number=1, kind="failed", fingerprint="f1", worker=worker.pk)
    queue = filled(Queue, hostile, name=hostile[:64])
    paused = filled(Queue, hostile, name=hostile[:63] + "2", paused_at=now)
    return {
        "schedule": schedule,
        "declared schedule": declared,
        "queue": queue,
        "paused queue": paused,
        "full queue": queue,
        "worker": worker,
        "quiet worker": worker,
        "error": Attempt.objects.first(),
    } | jobs


class Markup(HTMLParser):
    """What a browser makes of a page."""

    def __init__(self, source: str):
        super().__init__()
        self.wrong: list[str] = []
        self.text = ""
        self.feed(source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "hostile":
            self.wrong.append(f"<{tag}>")
        for name, value in attrs:
            is_script = (value or "").strip().lower().startswith("javascript:") and name not in (
                "value",
                "aria-label",
                "title",
            )
            if name.startswith("on") or is_script:
                self.wrong.append(f"<{tag} {name}={value!r}>")
            self.text += f" {value}"

    def handle_data(self, data: str) -> None:
        self.text += data


def wrong_in(response: Any) -> list[str]:
    source = response.content.decode()
    found = Markup(source).wrong
    if len(source) > 2_000_000:
        found.append(f"{len(source)} characters")
    return found


@pytest.mark.parametrize("hostile", [LONG_MARKUP, SCRIPT], ids=["markup", "script"])
def test_hostile_text_stays_text_on_every_page_and_after_every_act(admin_client, admin_user, hostile):
    rows = hostile_rows(hostile)
    for one in rows.values():
        kind = ContentType.objects.get_for_model(one)
        LogEntry.objects.create(
            user=admin_user,
            content_type=kind,
            object_id=one.pk,
            object_repr=hostile[:200],
            action_flag=CHANGE,
            change_message=hostile,
        )
    wrong, showing = [], set()

    pages = {name: admin_client.get(address(name, rows), follow=True) for name, page in PAGES.items() if page.look}
    pages |= {
        f"jobs of {state}": admin_client.get("/admin/django_jobs/job/", {"state": state})
        for state in ("failed", hostile[:100])
    }
    pages |= {
        "index": admin_client.get("/admin/"),
        "search": admin_client.get("/admin/django_jobs/job/", {"q": hostile[:100]}),
    }
    for name, page in PAGES.items():
        if page.act:
            pages[f"after {name}"] = posted(admin_client, address(name, rows), page.data())
    typed = {key: hostile for key in form()}
    for name in ("schedule_add", "schedule_change"):
        pages[f"typed into {name}"] = posted(admin_client, address(name, rows), typed)
    typed = {key: hostile for key in run_form()} | {"task": run_form()["task"]}
    pages["typed into job_add"] = posted(admin_client, address("job_add", rows), typed)
    pages["chosen in job_add"] = admin_client.get(address("job_add", rows), {"task": hostile[:200], "q": hostile})

    for name, page in pages.items():
        assert page.status_code == 200, name
        wrong += [f"{name}: {one}" for one in wrong_in(page)]
        if hostile[:20] in Markup(page.content.decode()).text:
            showing.add(name)
    assert wrong == []
    shown = {
        "job_changelist",
        "job_change",
        "schedule_changelist",
        "schedule_change",
        "queue_changelist",
        "queue_change",
    }
    assert shown | {"worker_changelist", "worker_change", "job_history", "index", "after queue_resume"} <= showing


def posted(client: Client, address: str, data: dict[str, Any]) -> Any:
    """POST and follow, and undo it."""
    with transaction.atomic():
        response = client.post(address, data, follow=True)
        transaction.set_rollback(True)
    return response


def told(verb: str, *arguments: str) -> str:
    out = StringIO()
    with suppress(SystemExit):  # health is bad
        call_command("jobs", verb, *arguments, stdout=out)
    return out.getvalue()


LOOKS = [("status",), ("schedules",), ("health",), ("explain", "job"), ("explain", "running job")]


def test_every_verb_that_shows_data_is_looked_at():
    acts = {"retry", "cancel", "prune", "pause", "resume", "rebuild"}

    assert VERBS.keys() - acts - {name for name, *_ in LOOKS} - {"import-beat"} == set()


@pytest.mark.parametrize("look", LOOKS, ids=" ".join)
def test_commands_write_no_control_characters_and_no_forged_lines(look):
    rows = hostile_rows(MARKUP)
    arguments = [look[0], *(str(rows[name].pk) for name in look[1:])]

    as_json, as_text = told(*arguments, "--json"), told(*arguments)

    assert json.loads(as_json)
    assert as_json.isascii() and as_json.rstrip("\n").isprintable()
    assert all(line.isprintable() for line in as_text.rstrip("\n").split("\n"))
    assert len(as_text.rstrip("\n").split("\n")) == len(json.loads(as_json))


# Secrets

SECRET = "s3cret"
SECRETS = {
    "args": [1042, SECRET],
    "kwargs": {"pin": SECRET, "password": SECRET, "amount": {"apiKey": SECRET, "list": [{"card": SECRET}]}},
}


def test_secrets_are_on_no_page(admin_client):
    rows = hostile_rows("x")
    for one in rows.values():
        if isinstance(one, Job | Schedule):
            Model, known = (
                type(one),
                {"kwargs": SECRETS["kwargs"], "args": [1042], "task_path": admin_tasks.charge_card.module_path},
            )
            Model.objects.filter(pk=one.pk).update(**known)
    Job.objects.update(
        metadata={"token": SECRET}, context={"Authorization": SECRET}, return_value={"clientSecret": SECRET}
    )
    Job.objects.create(task_path="shop.tasks.removed_last_week", **SECRETS)
    Schedule.objects.create(name="gone", task_path="shop.tasks.removed_last_week", cron="0 0 * * *", **SECRETS)

    pages = [admin_client.get(address(name, rows), follow=True) for name, page in PAGES.items() if page.look]
    pages += [posted(admin_client, address(name, rows), page.data()) for name, page in PAGES.items() if page.act]
    pages += [admin_client.get(f"/admin/django_jobs/{one._meta.model_name}/{one.pk}/change/") for one in unknown()]
    pages.append(admin_client.get("/admin/django_jobs/schedule/add/", {"copy": rows["declared schedule"].pk}))

    pages += [
        posted(admin_client, address("job_add", rows), run_form(**{"arg-pin": SECRET, "arg-password": SECRET}, **wrong))
        for wrong in ({}, {"arg-order_id": "x"})
    ]

    for page in pages:
        assert page.status_code == 200
        assert SECRET not in page.content.decode()
    assert "hidden" in text(admin_client.get(address("job_change", rows)))


def unknown() -> list[models.Model]:
    path = "shop.tasks.removed_last_week"
    return [Job.objects.get(task_path=path), Schedule.objects.get(task_path=path)]


def test_secrets_are_in_no_repr():
    job = Job.objects.create(task_path=framework_tasks.plus.module_path, **SECRETS)
    call = admin_tasks.charge_card.s(1042, pin=SECRET, password=SECRET)

    shown = [
        repr(job),
        str(job),
        repr(call),
        repr(result_of(job, framework_tasks.plus)),
        f"{Schedule(name='x', **SECRETS)!r}",
    ]

    assert not [one for one in shown if SECRET in one]


def test_secrets_are_in_no_refusal():
    refusals = []
    for kwargs in ({"password": {SECRET}}, {"password": object}, {"secret": SECRET}, {"password": SECRET * 300_000}):
        with pytest.raises(Exception, match="charge_card") as refused:
            admin_tasks.charge_card.enqueue(1, **kwargs)
        refusals.append(str(refused.value))

    assert not [one for one in refusals if SECRET in one]


def test_tracebacks_carry_no_local_variables():
    def body(password: str) -> None:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ExceptionGroup("outer", [ValueError("one")]) from error

    with pytest.raises(ExceptionGroup) as raised:
        body(SECRET)

    failure = describe(raised.value)
    assert "in body" in failure.traceback and "inner" in failure.traceback
    assert SECRET not in repr(failure)


# Addresses with credentials


def redis_at(settings, url: str) -> None:
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
    settings.DJANGO_JOBS = {"CACHE": "default"}


def told_of_redis() -> list[str]:
    return [redis(), *redis_problems(), *map(str, health.redis_problems()), broker.address_of_jobs()]


def test_a_wrong_password_of_redis_is_told_without_it(settings, caplog):
    server = settings.CACHES["default"]["LOCATION"].rpartition("@")[2].removeprefix("redis://")
    redis_at(settings, f"redis://ann:{SECRET}@{server}?protocol=2")

    said = told_of_redis()
    admin_tasks.charge_card.enqueue(1)

    assert len(said) == 4 and all(server.partition("/")[0] in one for one in said)
    assert SECRET not in " ".join([*said, caplog.text])
    assert "ann" not in broker.address_of_jobs()


@pytest.mark.parametrize(
    "url",
    [
        *(f"redis://:{SECRET[:2]}{sign}{SECRET[2:]}@127.0.0.1:1/0" for sign in "#/?,"),
        f"redis://:1234,{SECRET}@127.0.0.1:1/0",
        f"redis://127.0.0.1:{SECRET}/0",
        f"redis://:{SECRET}",
        f":{SECRET}@127.0.0.1:1/0",
        f"{SECRET}@127.0.0.1",
    ],
)
def test_an_address_that_cannot_be_taken_apart_is_refused_without_being_shown(settings, url):
    redis_at(settings, url)

    with pytest.raises(ImproperlyConfigured, match="%40") as refused:
        broker.for_worker()
    found = [one for one in run_checks() if one.id == "django_jobs.E006"]

    assert len(found) == 1
    said = f"{refused.value}{found[0]}"
    assert not any(part in said for part in (SECRET, SECRET[:2] + ":", SECRET[2:]))


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1",
        "rediss://ann:p%40%23@redis.example.org:6380/3",
        "unix:///run/redis.sock?db=1",
        "redis://main/0",
    ],
)
def test_addresses_that_can_be_taken_apart(url):
    assert is_url(url)
