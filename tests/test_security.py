"""Who may do what: every address of ours, for every kind of user.

``PAGES`` is the whole truth about the addresses, ``ACTIONS`` about the actions of lists. A page or an action that
stands in neither fails the first test, with a message that says which line to add.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.admin.utils import quote
from django.contrib.auth.models import Permission, User
from django.db import models, transaction
from django.http import HttpResponse
from django.test import Client, RequestFactory
from django.urls import URLPattern, get_resolver, reverse

from django_jobs import public
from django_jobs.models import Attempt, Queue, Worker, db_now
from tests.test_admin import failed_job, job
from tests.test_run_task import form as run_form
from tests.test_schedule_admin import form
from tests.test_schedules import saved

pytestmark = pytest.mark.django_db
LABEL = "django_jobs"
OURS = [model for model in admin.site._registry if model._meta.app_label == LABEL and not model._meta.proxy]
TOKEN = "a" * 32


@pytest.fixture(autouse=True)
def quick(settings, monkeypatch):
    """Keep Redis, the table of sessions and a traceback in the log for each 403 out of a few thousand requests."""
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    for name in ("django.request", "django.security.csrf"):
        monkeypatch.setattr(logging.getLogger(name), "disabled", True)


# The rules. A right is the codename of a permission; superusers have all of them.


def looks(model: str) -> set[str]:
    """Return the rights of which each opens a model's pages, as in all of Django's admin."""
    return {f"view_{model}", f"change_{model}"}


NOBODY: set[str] = set()
EVERYBODY = {"anybody"}


@dataclass(frozen=True, kw_only=True)
class Page:
    """One address: the rights of which one is needed, and what is answered to those who have it.

    Those who have it not get 403, and the login page without a session. ``look`` is about GET, ``act`` about POST;
    ``changes`` says whether a POST does something, which is then in the log.
    """

    look: set[str]
    act: set[str]
    acted: int = 302
    changes: bool = True
    data: Callable[[], dict[str, Any]] = dict
    of: str = ""  # the row that it is about, by its name in ``rows``


def shown(model: str) -> Page:
    """Return the rule of a page that shows something, whatever the method."""
    return Page(look=looks(model), act=looks(model), acted=200, changes=False)


CLOSED = Page(look=NOBODY, act=NOBODY)
BUTTON = {"look": NOBODY}  # 405 to a GET, from whomever


def confirmed() -> dict[str, Any]:
    return {"post": "yes"}


PAGES = {
    "overview_changelist": shown("job"),
    "overview_retry": Page(**BUTTON, act={"change_job"}, of="error"),
    "job_changelist": shown("job"),
    "job_add": Page(look={"add_job"}, act={"add_job"}, data=run_form),
    "job_change": Page(look=looks("job"), act=NOBODY),
    "job_history": shown("job"),
    "job_delete": Page(look={"delete_job"}, act={"delete_job"}, data=confirmed),
    "job_retry": Page(**BUTTON, act={"change_job"}),
    "job_cancel": Page(**BUTTON, act={"change_job"}, of="running job"),
    "job_again": Page(**BUTTON, act={"change_job"}),
    "job_arguments": Page(look={"change_job"}, act={"change_job"}, data=lambda: {"arg-order_id": "7", "how": "retry"}),
    "job_retry_all": Page(**BUTTON, act={"change_job"}),
    "schedule_changelist": shown("schedule"),
    "schedule_day": shown("schedule"),
    "schedule_add": Page(look={"add_schedule"}, act={"add_schedule"}, data=form),
    "schedule_change": Page(look=looks("schedule"), act={"change_schedule"}, data=form),
    "schedule_history": shown("schedule"),
    "schedule_delete": Page(look={"delete_schedule"}, act={"delete_schedule"}, data=confirmed),
    "schedule_run": Page(**BUTTON, act={"change_schedule"}),
    "schedule_switch": Page(**BUTTON, act={"change_schedule"}),
    "schedule_restore": Page(**BUTTON, act={"change_schedule"}, of="declared schedule"),
    "queue_changelist": shown("queue"),
    "queue_add": CLOSED,
    "queue_change": Page(look=looks("queue"), act=NOBODY),
    "queue_history": shown("queue"),
    "queue_delete": CLOSED,
    "queue_pause": Page(**BUTTON, act={"change_queue"}, data=lambda: {"reason": "the printer burns"}),
    "queue_resume": Page(**BUTTON, act={"change_queue"}, of="paused queue"),
    "queue_purge": Page(**BUTTON, act={"change_queue"}, of="full queue"),
    "worker_changelist": shown("worker"),
    "worker_quiet": Page(**BUTTON, act={"change_worker"}),
    "worker_wake": Page(**BUTTON, act={"change_worker"}, of="quiet worker"),
    "worker_stop": Page(**BUTTON, act={"change_worker"}),
    "worker_add": CLOSED,
    "worker_change": Page(look=looks("worker"), act=NOBODY),
    "worker_history": shown("worker"),
    "worker_delete": CLOSED,
}

# The rest is of another kind: Django's own, or for visitors who hold a signed token.
OTHERS = {
    "app_list": "Django's index of our models; it shows what the lists may show",
    "<path:object_id>/": "Django's redirection to the page of a row",
    "job": "a visitor's look at one job: tests/test_pages.py",
    "tests_app_effect_jobs_about": "of those who may view an object and jobs: tests/test_jobs_panel.py",
    "events": "the same as a stream: tests/test_pages.py",
    "cancel": "a visitor's POST with token and CSRF: below, and tests/test_pages.py",
}


@dataclass(frozen=True, kw_only=True)
class Action:
    """An action of a list: the right that it needs besides that to see the list, and the rows it is done to."""

    right: str
    of: str
    data: dict[str, Any] = field(default_factory=dict)


ACTIONS = {
    "job.retry_selected": Action(right="change_job", of="job"),
    "job.cancel_selected": Action(right="change_job", of="running job"),
    "job.delete_selected": Action(right="delete_job", of="job", data=confirmed()),
    "schedule.run_selected": Action(right="change_schedule", of="schedule"),
    "schedule.enable_selected": Action(right="change_schedule", of="disabled schedule"),
    "schedule.disable_selected": Action(right="change_schedule", of="schedule"),
    "schedule.delete_selected": Action(right="delete_schedule", of="schedule", data=confirmed()),
    "queue.pause_selected": Action(right="change_queue", of="queue", data={"reason": "the printer burns"}),
    "queue.resume_selected": Action(right="change_queue", of="paused queue"),
}


# The things


@pytest.fixture
def rows() -> dict[str, models.Model]:
    """One row of each kind, and those that some acts need, by name."""
    now = db_now()
    declared = saved(name="declared", key="declared", overlap="skip")
    declared.declared = {"overlap": "run"}
    declared.save()
    return {
        "job": failed_job(),
        "running job": job("running", claimed_at=now),
        "schedule": saved(name="tonight"),
        "disabled schedule": saved(name="another night", enabled=False),
        "declared schedule": declared,
        "queue": Queue.objects.create(name="mail"),
        "paused queue": Queue.objects.create(name="paused", paused_at=now, reason="closed"),
        "full queue": Queue.objects.create(name=job(queue_name="full").queue_name),
        "worker": worker(now),
        "quiet worker": worker(now, wish=Worker.Wish.QUIET),
        "error": Attempt.objects.get(),
    }


def worker(now: datetime, **columns: Any) -> Worker:
    return Worker.objects.create(id=uuid4(), host="web-1", pid=1, alive_until=now + timedelta(days=1), **columns)


def everything() -> dict[str, Any]:
    """Return all that is stored by us and in the admin's log."""
    stored = [*apps.get_app_config(LABEL).get_models(), LogEntry]
    return {model.__name__: list(model._default_manager.order_by("pk").values()) for model in stored}


def address(name: str, rows: dict[str, models.Model]) -> str:
    model, _, what = name.partition("_")
    if what in ("changelist", "add", "day", "retry_all"):
        return reverse(f"admin:{LABEL}_{name}")
    one = rows[PAGES[name].of or model]
    key = one.fingerprint if isinstance(one, Attempt) else quote(one.pk)
    return reverse(f"admin:{LABEL}_{name}", args=[key])


# The people


@dataclass(frozen=True, kw_only=True)
class Person:
    """Somebody with these rights, logged in unless they are None; the browser insists on CSRF tokens."""

    name: str
    rights: frozenset[str] | None
    client: Client

    def has_one_of(self, rights: set[str]) -> bool:
        return bool(rights & (self.rights or set()))

    def post(self, address: str, data: dict[str, Any], *, token: str = TOKEN) -> HttpResponse:
        self.client.cookies["csrftoken"] = TOKEN
        return self.client.post(address, data | {"csrfmiddlewaretoken": token})


@pytest.fixture
def people() -> list[Person]:
    permissions = {one.codename: one for one in Permission.objects.filter(content_type__app_label=LABEL)}
    assert len(permissions) >= 4 * len(OURS)
    ours = {model._meta.model_name for model in OURS}
    with_pages = {right for right in permissions if right.rpartition("_")[2] in ours}
    others = frozenset(permissions) - with_pages  # on what has no pages
    alone = [frozenset({right}) for right in with_pages]
    with_a_look = [
        frozenset({f"view_{model._meta.model_name}", f"{act}_{model._meta.model_name}"})
        for model in OURS
        for act in ("add", "change", "delete")
    ]
    staff = [person(rights, permissions) for rights in [frozenset(), others, *alone, *with_a_look]]
    boss = User.objects.create_superuser("boss")
    return [
        Person(name="anonymous", rights=None, client=Client(enforce_csrf_checks=True)),
        *staff,
        Person(name="superuser", rights=frozenset(permissions), client=logged_in(boss)),
    ]


def person(rights: frozenset[str], permissions: dict[str, Permission]) -> Person:
    name = "+".join(sorted(rights))[:150] or "staff without rights"
    user = User.objects.create_user(name, is_staff=True)
    user.user_permissions.set([permissions[right] for right in rights])
    return Person(name=name, rights=rights, client=logged_in(user))


def logged_in(user: User) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.force_login(user)
    return client


# The table is complete


def patterns(resolver: Any, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for one in resolver.url_patterns:
        route = f"{prefix}{one.pattern}"
        if isinstance(one, URLPattern):
            yield route, one
        else:
            yield from patterns(one, route)


def is_ours(route: str, pattern: URLPattern) -> bool:
    home = inspect.unwrap(pattern.callback).__module__
    return LABEL in route or LABEL in (pattern.name or "") or home.partition(".")[0] == LABEL


def test_every_address_of_ours_has_its_rule():
    found = {
        (one.name or str(one.pattern)).removeprefix(f"{LABEL}_")
        for route, one in patterns(get_resolver())
        if is_ours(route, one)
    }

    unknown = found - PAGES.keys() - OTHERS.keys()
    assert not unknown, f"add to PAGES in {__file__} who may look at and act on: {sorted(unknown)}"
    assert PAGES.keys() <= found, f"no longer there: {sorted(PAGES.keys() - found)}"


def test_every_action_has_its_rule(rf: RequestFactory):
    request = rf.get("/")
    request.user = User.objects.create_superuser("boss")
    found = {
        f"{model._meta.model_name}.{name}"
        for model in OURS
        for name in admin.site._registry[model].get_actions(request)
    }

    unknown = found - ACTIONS.keys()
    assert not unknown, f"add to ACTIONS in {__file__} which right is needed for: {sorted(unknown)}"
    assert ACTIONS.keys() <= found, f"no longer there: {sorted(ACTIONS.keys() - found)}"


# The matrix: each test names all cells that are wrong


def expected_look(one: Person, page: Page) -> int:
    if one.rights is None:
        return 302
    if page.look is NOBODY and page.act is not NOBODY:
        return 405
    return 200 if one.has_one_of(page.look) else 403


def test_who_may_look_at_what_and_a_look_changes_nothing(rows, people):
    before, wrong = everything(), []

    for name, page in PAGES.items():
        for one in people:
            status = one.client.get(address(name, rows)).status_code
            if status != expected_look(one, page):
                wrong.append(f"{name} shown to {one.name}: {status}, not {expected_look(one, page)}")

    assert not wrong, "\n".join(wrong)
    assert everything() == before


def test_a_post_without_its_csrf_token_is_refused_to_everybody(rows, people):
    before, wrong = everything(), []

    for name, page in PAGES.items():
        for one in people:
            for token in ("", "b" * 32) if one.name == "superuser" else ("",):
                status = one.post(address(name, rows), page.data(), token=token).status_code
                if status != 403:
                    wrong.append(f"{name} by {one.name}: {status}")

    assert not wrong, "\n".join(wrong)
    assert everything() == before


def test_who_may_not_act_changes_nothing(rows, people):
    before, wrong = everything(), []

    for name, page in PAGES.items():
        for one in people:
            if one.has_one_of(page.act):
                continue
            status = one.post(address(name, rows), page.data()).status_code
            if status != (403 if one.client.session.get("_auth_user_id") else 302):
                wrong.append(f"{name} by {one.name}: {status}")

    assert not wrong, "\n".join(wrong)
    assert everything() == before


def test_who_may_act_does_and_it_is_logged(rows, people):
    before, wrong = everything(), []

    for name, page in PAGES.items():
        for one in people:
            if one.has_one_of(page.act):
                status, did = done_by(one, address(name, rows), page.data(), before)
                if (status, did) != (page.acted, Did(changed=page.changes, logged=page.changes)):
                    wrong.append(f"{name} by {one.name}: {status}, {did}")

    assert not wrong, "\n".join(wrong)


def test_who_may_do_what_to_many(rows, people):
    before, wrong = everything(), []

    for name, action in ACTIONS.items():
        model, _, verb = name.partition(".")
        data = {"action": verb, "_selected_action": [rows[action.of].pk], **action.data}
        changelist = reverse(f"admin:{LABEL}_{model}_changelist")
        for one in people:
            if not (one.has_one_of(looks(model)) and one.has_one_of({action.right})):
                one.post(changelist, data)
            elif (did := done_by(one, changelist, data, before)[1]) != Did(changed=True, logged=True):
                wrong.append(f"{name} by {one.name}: {did}")
        if everything() != before:
            wrong.append(f"{name} by somebody who may not")

    assert not wrong, "\n".join(wrong)


@dataclass(frozen=True, kw_only=True)
class Did:
    """What came of a POST: whether rows of ours are other ones, and whether one entry was written to the log."""

    changed: bool
    logged: bool


def done_by(one: Person, address: str, data: dict[str, Any], before: dict[str, Any]) -> tuple[int, Did]:
    """POST, and undo it; return the status and what was done."""
    with transaction.atomic():
        status = one.post(address, data).status_code
        after = everything()
        transaction.set_rollback(True)
    changed = any(after[name] != before[name] for name in after.keys() - {"LogEntry"})
    return status, Did(changed=changed, logged=len(after["LogEntry"]) == len(before["LogEntry"]) + 1)


def test_an_action_without_a_token_does_nothing(rows, people):
    before = everything()

    for name, action in ACTIONS.items():
        model, _, verb = name.partition(".")
        data = {"action": verb, "_selected_action": [rows[action.of].pk], **action.data}
        for token in ("", "b" * 32):
            list_of = reverse(f"admin:{LABEL}_{model}_changelist")
            assert people[-1].post(list_of, data, token=token).status_code == 403
            people[-1].client.get(list_of, data)

    assert everything() == before


def test_a_visitor_cancels_by_a_token_that_allows_it_and_with_the_one_of_csrf(people):
    one, anybody = job(), people[0]
    may, may_not = (
        public.address("cancel", public.Pass(job=one.pk, may_cancel=allowed).token(60)) for allowed in (True, False)
    )

    refused = [
        anybody.post(may, {}, token="b" * 32).status_code,
        anybody.post(may_not, {}).status_code,
        anybody.client.get(may).status_code,
        anybody.post(may.replace("/cancel", "x/cancel"), {}).status_code,
    ]

    assert refused == [403, 404, 405, 404]
    one.refresh()
    assert one.state == "queued"
    assert anybody.post(may, {}).status_code == 302
    one.refresh()
    assert one.state == "cancelled"
