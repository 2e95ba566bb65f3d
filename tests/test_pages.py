"""A job on a user's own page: what is shown, to whom, and for how long."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from decimal import Decimal
from uuid import uuid4

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.template import RequestContext, Template
from django.test import AsyncClient, Client, RequestFactory
from django.utils import timezone, translation

from django_jobs import public, states, views
from django_jobs.models import Job, db_now
from tests.app import tasks

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"CACHE": None}


def job(state: str = "running", **values) -> Job:
    if state in states.FINAL:
        values.setdefault("finished_at", db_now())
    return Job.objects.create(**{"task_path": tasks.add.module_path, "state": state} | values)


def address(one: Job, name: str = "job", expires: float = 60, **values) -> str:
    return public.address(name, public.Pass(job=one.pk, **values).token(expires))


def rendered(one: Job | None, options: str = "", user=None, **more) -> str:
    request = RequestFactory().get("/here/")
    request.user = user or AnonymousUser()
    template = Template(f"{{% load django_jobs %}}{{% job_progress job {options} %}}")
    return template.render(RequestContext(request, {"job": one} | more))


# What is shown


@pytest.mark.parametrize(
    ("state", "values", "percent", "text"),
    [
        ("queued", {}, None, "Waiting to start"),
        ("scheduled", {}, None, "Waiting to start"),
        ("running", {}, None, "Running"),
        ("running", {"progress": {"done": 3, "total": 12, "text": "rows"}}, 25, "25% · rows"),
        ("running", {"progress": {"done": 3, "total": None, "text": "rows"}}, None, "rows"),
        ("running", {"progress": {"done": 999, "total": 10, "text": ""}}, 100, "100%"),
        ("running", {"progress": {"done": 5, "total": 0, "text": "<b>"}}, None, "<b>"),
        ("running", {"progress": "damaged"}, None, "Running"),
        ("running", {"cancel_requested_at": db_now}, None, "Stopping"),
        ("retrying", {"last_error": "secret"}, None, "Failed, and will be tried again"),
        ("succeeded", {"progress": {"done": 1, "total": 2, "text": ""}, "return_value": "secret"}, 100, "Done"),
        ("failed", {"last_error": "secret", "progress": {"done": 1, "total": 2, "text": ""}}, 50, "Failed"),
        ("cancelled", {"reason": "secret"}, None, "Cancelled"),
    ],
)
def test_a_visitor_sees_the_state_and_no_more(client, state, values, percent, text):
    one = job(state, **{name: value() if callable(value) else value for name, value in values.items()})

    answer = client.get(address(one))

    found = answer.json()
    assert (found["state"], found["percent"], found["text"]) == (state, percent, text)
    assert set(found) == {"state", "finished", "done", "total", "percent", "text", "may_cancel"}
    assert found["finished"] == (state in states.FINAL)
    assert "secret" not in answer.content.decode() and "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize(("value", "expected"), [(None, None), ({"price": Decimal("1.50")}, {"price": "1.50"})])
def test_the_result_is_shown_only_when_it_is_asked_for(client, value, expected):
    one = job("succeeded", return_value=value)

    assert client.get(public.job_url(one, result=True)).json()["result"] == expected
    assert "result" not in client.get(public.job_url(one)).json()


def test_a_look_costs_one_query_and_leaves_big_columns_alone(client, django_assert_num_queries):
    one = job(args=["x" * 1000], log="x" * 1000)

    with django_assert_num_queries(1) as queries:
        client.get(address(one))

    assert not {"args", "log", "return_value"} & set(queries[0]["sql"].replace('"', " ").replace(".", " ").split())


def test_the_words_are_those_of_the_visitor(client, monkeypatch):
    monkeypatch.setattr(public, "gettext", lambda text: f"{translation.get_language()}: {text}")
    one = job("failed")

    with translation.override("de"):
        assert public.sentence(one, None, "") == "de: Failed"


# To whom


def test_a_wrong_token_is_not_found(client):
    one = job()
    good = address(one)
    token = good.split("/")[2]

    for wrong in (token[:-1], token + "x", "x", token.swapcase(), f"{token}:1", str(one.pk)):
        assert client.get(good.replace(token, wrong)).status_code == 404
    assert client.get(good).status_code == 200


def test_an_expired_token_is_not_found(client):
    assert client.get(address(job(), expires=-1)).status_code == 404


def test_a_token_made_for_something_else_is_not_found(client):
    token = signing.dumps([job().pk.hex, None, True, True, 10**12])

    assert client.get(f"/jobs/{token}/").status_code == 404
    assert client.get(f"/jobs/{signing.dumps('x', salt=public.SALT)}/").status_code == 404


def test_a_bound_token_is_its_users_alone(client):
    owner, other = User.objects.create_user("ada"), User.objects.create_user("bob")
    url = public.job_url(job(), user=owner)

    assert client.get(url).status_code == 404
    client.force_login(other)
    assert client.get(url).status_code == 404
    client.force_login(owner)
    assert client.get(url).status_code == 200


def test_a_token_bound_to_nobody_is_for_those_who_are_not_logged_in(client):
    url = public.job_url(job(), user=AnonymousUser())

    assert client.get(url).status_code == 200
    client.force_login(User.objects.create_user("ada"))
    assert client.get(url).status_code == 404


def test_a_deleted_job_is_not_found(client):
    one = job()
    url = address(one)
    one.delete()

    assert client.get(url).status_code == 404


@pytest.mark.parametrize("name", ["job", "events"])
def test_nothing_but_a_look_is_allowed(client, name):
    assert client.post(address(job(), name)).status_code == 405


# Cancelling


def test_the_button_cancels_and_leads_back(client):
    one = job("queued")
    url = address(one, "cancel", may_cancel=True)

    answer = client.post(url, {"next": "/page/?a=b"}, headers={"accept": "text/html"})

    one.refresh()
    assert (answer.status_code, answer["Location"]) == (302, "/page/?a=b")
    assert (one.state, one.reason) == (states.CANCELLED, "cancelled on a page")


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "javascript:alert(1)", ""])
def test_the_button_leads_nowhere_else(client, elsewhere):
    url = address(job("queued"), "cancel", may_cancel=True)

    assert client.post(url, {"next": elsewhere}, headers={"accept": "text/html"})["Location"] == "/"


def test_a_script_gets_the_state_and_the_log_of_who_did_it(client):
    one = job("running")
    client.force_login(User.objects.create_user("ada"))

    found = client.post(address(one, "cancel", may_cancel=True), headers={"accept": "application/json"}).json()

    assert (found["text"], found["may_cancel"]) == ("Stopping", False)


def test_nobody_cancels_who_may_only_look(client):
    one = job("queued")

    assert client.post(address(one, "cancel")).status_code == 404
    assert client.get(address(one, "cancel", may_cancel=True)).status_code == 405
    assert Client(enforce_csrf_checks=True).post(address(one, "cancel", may_cancel=True)).status_code == 403
    one.refresh()
    assert one.state == states.QUEUED


# Events


def stream(url: str, client: AsyncClient | None = None) -> tuple[int, str, list[str]]:
    async def read():
        answer = await (client or AsyncClient()).get(url)
        parts = [part.decode() async for part in answer.streaming_content] if answer.streaming else []
        return answer.status_code, answer.headers.get("Content-Type", ""), parts

    return async_to_sync(read)()


@pytest.mark.django_db(transaction=True)
def test_events_are_streamed_until_the_end(monkeypatch):
    one = job("running", progress={"done": 1, "total": 4, "text": ""})
    looks = []

    async def sleep(seconds):
        looks.append(seconds)
        if len(looks) == 2:
            await Job.objects.filter(pk=one.pk).aupdate(state=states.SUCCEEDED, finished_at=timezone.now())

    monkeypatch.setattr(views.asyncio, "sleep", sleep)

    status, kind, parts = stream(address(one, "events"))

    assert (status, kind, looks) == (200, "text/event-stream", [1.0, 1.0])
    assert [part[:6] for part in parts] == ["data: ", ": stil", "data: "]
    assert [json.loads(part[6:])["percent"] for part in parts if part[0] == "d"] == [25, 100]


@pytest.mark.django_db(transaction=True)
def test_events_are_for_the_same_eyes():
    owner = User.objects.create_user("ada")
    url = address(job("succeeded"), "events", user=str(owner.pk))
    logged_in = AsyncClient()
    logged_in.force_login(owner)

    assert stream(url)[0] == 404
    assert stream(url, logged_in)[0] == 200
    assert stream(address(Job(pk=uuid4()), "events"))[0] == 404


def test_under_wsgi_there_are_no_events(client):
    assert client.get(address(job(), "events")).status_code == 404


# The tag


def test_the_tag_draws_the_state_at_load():
    html = rendered(job(progress={"done": 1, "total": 4, "text": "<rows>"}), 'label="Import"')

    assert '<progress class="dj-job-bar" max="100" value="25" aria-label="Import"></progress>' in html
    assert "25% · &lt;rows&gt;" in html and "<form" not in html and "data-events" not in html
    assert "style=" not in html and "onload" not in html


def test_numbers_are_written_for_machines_in_any_language(settings):
    settings.USE_THOUSAND_SEPARATOR = True
    with translation.override("de"):
        assert 'max="100" value="25"' in rendered(job(progress={"done": 1, "total": 4, "text": ""}))


def test_without_a_job_there_is_nothing():
    assert rendered(None).strip() == ""


def test_a_button_is_drawn_on_request_and_while_there_is_something_to_cancel():
    html = rendered(job(), "cancel=True")

    assert re.search(r'name="csrfmiddlewaretoken" value="\w{64}"', html) and 'name="next" value="/here/"' in html
    assert " hidden" not in html.partition("<form")[2].partition(">")[0]
    assert " hidden" in rendered(job("failed"), "cancel=True").partition("<form")[2].partition(">")[0]


def test_a_nonce_of_the_page_is_used():
    assert 'nonce="n0nce"' in rendered(job(), csp_nonce="n0nce")


@pytest.mark.parametrize("options", ["bind=True", "bind=True cancel=True stream=True result=True expires=60"])
def test_what_the_tag_binds_is_bound(client, options):
    owner = User.objects.create_user("ada")
    html = rendered(job("succeeded", return_value=1), options, user=owner)
    url = html.partition('data-url="')[2].partition('"')[0]

    assert client.get(url).status_code == 404
    client.force_login(owner)
    assert ("result" in client.get(url).json()) == ("result" in options)


def test_a_project_without_the_addresses_is_told_what_to_add(settings):
    settings.ROOT_URLCONF = "tests.app.no_urls"

    with pytest.raises(ImproperlyConfigured, match=r'Add path\("jobs/", include\("django_jobs.urls"\)\)'):
        rendered(job())


def test_an_address_lives_for_a_day_unless_told_otherwise(client, monkeypatch):
    url = public.job_url(job())
    now = public.time.time()

    monkeypatch.setattr(public.time, "time", lambda: now + timedelta(hours=23).total_seconds())
    assert client.get(url).status_code == 200
    monkeypatch.setattr(public.time, "time", lambda: now + timedelta(hours=25).total_seconds())
    assert client.get(url).status_code == 404
