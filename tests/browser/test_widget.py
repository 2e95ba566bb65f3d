"""The element <job-progress> in a real browser, on a page with a strict Content Security Policy."""

from __future__ import annotations

import json
from collections.abc import Callable
from urllib.parse import quote

import pytest
from playwright.sync_api import Page, expect

from django_jobs import cancel, states
from django_jobs.models import Job, db_now
from tests.app import tasks
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
EVENTS = "**/events/"


@pytest.fixture
def job(settings) -> Job:
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"CACHE": None}
    return tasks.add.enqueue(1, 2)


@pytest.fixture
def show(site, job) -> Callable[..., Page]:
    """A function that opens the job's page as a visitor; whatever the browser complains of fails the test."""
    site.tolerated += ["Failed to load resource", "EventSource's response"]  # a server that fails for a while

    def open_page(options: str = "", anchor: str = "", **of_context) -> Page:
        return site.page(f"/page/{job.pk}/?options={quote(options)}{anchor}", visitor=True, **of_context)

    return open_page


def become(job: Job, state: str, **values) -> None:
    """Let the job be in that state, whatever it was."""
    if state in states.FINAL:
        values["finished_at"] = db_now()
    Job.objects.filter(pk=job.pk).update(state=state, **values)


def text(page: Page):
    return page.locator(".dj-job-text")


def fired(page: Page) -> list:
    return page.evaluate("window.fired")


def waits_for_event(page: Page, name: str, state: str) -> None:
    wait_for(lambda: [name, state] in [one[:2] for one in fired(page)], 20, f"{name} ({state}) on the page")


def test_the_page_follows_the_job_to_its_end(show, job):
    page = show()
    bar = page.get_by_role("progressbar", name="Import")
    expect(text(page)).to_have_text("Waiting to start")
    expect(bar).not_to_have_attribute("value", "0")
    waits_for_event(page, "job-progress", "queued")  # what was drawn by the server tells of none

    become(job, "running", progress={"done": 5, "total": 20, "text": "rows"})
    expect(text(page)).to_have_text("25% · rows")
    assert bar.evaluate("bar => bar.value") == 25
    expect(page.locator("job-progress [role=status]")).to_have_text("25% · rows")

    become(job, "succeeded")
    expect(text(page)).to_have_text("Done")
    assert bar.evaluate("bar => bar.value") == 100
    assert page.locator("job-progress").get_attribute("data-state") == "succeeded"
    assert fired(page) == [
        ["job-progress", "queued", None],
        ["job-progress", "running", 25],
        ["job-progress", "succeeded", 100],
        ["job-finished", "succeeded", 100],
    ]


def test_nothing_is_asked_after_the_end_or_while_nobody_looks(show, job):
    page = show()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    become(job, "failed", last_error="secret")
    expect(text(page)).to_have_text("Failed")

    before = len(asked)
    page.wait_for_timeout(2500)

    assert len(asked) == before
    assert "secret" not in page.content()


def test_a_job_that_has_succeeded_leads_on(show, job):
    page = show('redirect="/thanks/"')

    become(job, "succeeded")

    page.wait_for_url("**/thanks/")


@pytest.mark.parametrize(("state", "anchor"), [("failed", ""), ("succeeded", "#stay")])
def test_the_page_stays_when_it_fails_or_a_listener_says_so(show, job, state, anchor):
    page = show('redirect="/thanks/"', anchor)

    become(job, state)

    waits_for_event(page, "job-finished", state)
    assert "/page/" in page.url


def test_the_button_cancels_by_script(show, job):
    page = show("cancel=True")

    page.get_by_role("button", name="Cancel").click()

    expect(text(page)).to_have_text("Cancelled")
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()
    job.refresh()
    assert (job.state, job.reason) == (states.CANCELLED, "cancelled on a page")


def test_an_answer_that_is_older_than_the_cancel_changes_nothing(show, job):
    page, held = show("cancel=True"), []

    def hold(route) -> None:
        if held or route.request.method != "GET":
            route.fallback()
        else:
            held.append((route, route.fetch()))

    page.route("**/jobs/**", hold)
    wait_for(lambda: page.wait_for_timeout(20) or held, 20, "a question")
    page.get_by_role("button", name="Cancel").click()
    expect(text(page)).to_have_text("Cancelled")

    route, answer = held[0]
    assert answer.json()["state"] == "queued"
    route.fulfill(response=answer)
    page.wait_for_timeout(500)

    expect(text(page)).to_have_text("Cancelled")


def test_without_javascript_the_state_is_drawn_and_the_button_works(show, job):
    become(job, "queued", progress={"done": 1, "total": 4, "text": ""})
    page = show("cancel=True", java_script_enabled=False)
    expect(text(page)).to_have_text("Waiting to start")
    expect(page.get_by_role("progressbar", name="Import")).to_have_attribute("value", "25")

    page.get_by_role("button", name="Cancel").click()

    expect(text(page)).to_have_text("Cancelled")
    assert "/page/" in page.url
    expect(page.get_by_role("button", name="Cancel")).to_be_hidden()


def test_a_server_that_fails_for_a_while_is_asked_again(show, job):
    page = show()
    with page.expect_response(lambda response: response.status == 502):
        page.route("**/jobs/**", lambda route: route.fulfill(status=502))

    page.unroute("**/jobs/**")
    become(job, "succeeded")

    expect(text(page)).to_have_text("Done")


def test_an_address_that_has_expired_leaves_what_was_shown(show, job):
    page = show()
    with page.expect_response(lambda response: response.status == 404):
        page.goto(f"/page/{job.pk}/?options=expires=2")
    become(job, "succeeded")

    page.wait_for_timeout(1500)

    expect(text(page)).to_have_text("Waiting to start")


def test_events_are_listened_to(show, job):
    found = {"state": "succeeded", "finished": True, "percent": 100, "text": "Done by events", "may_cancel": False}
    page = show()
    page.route(
        EVENTS, lambda route: route.fulfill(content_type="text/event-stream", body=f"data: {json.dumps(found)}\n\n")
    )

    page.goto(f"/page/{job.pk}/?options=stream=True")

    expect(text(page)).to_have_text("Done by events")


def test_where_no_events_come_the_page_asks(show, job):
    page = show("stream=True")  # the live server speaks WSGI

    become(job, "succeeded")

    expect(text(page)).to_have_text("Done")


def test_an_element_that_comes_late_works_too(show, job):
    """As pages do that load parts of themselves later."""
    page = show()
    page.evaluate("""async () => {
        const html = await (await fetch(location.href)).text();
        const late = new DOMParser().parseFromString(html, "text/html").querySelector("job-progress");
        document.querySelector("job-progress").remove();
        document.querySelector("main").append(document.adoptNode(late));
    }""")

    cancel(job)

    expect(text(page)).to_have_text("Cancelled")
