"""The list of jobs and the page of one, as a person uses them."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from django_jobs.models import Attempt, Job, Queue, Traceback, Worker, db_now
from tests.app import admin_tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
JOBS = "/admin/django_jobs/job/"
TASK = admin_tasks.charge_card.module_path
TRACEBACK = """\
Traceback (most recent call last):
  File "/srv/shop/tasks.py", line 31, in charge_card
    gateway.charge(order, amount)
  File "/srv/shop/gateway.py", line 88, in charge
    response = self.session.post("/charges", timeout=2)
  File "/srv/venv/lib/python3.12/site-packages/requests/sessions.py", line 637, in post
    return self.request("POST", url, data=data, json=json, **kwargs)
  File "/srv/venv/lib/python3.12/site-packages/requests/adapters.py", line 700, in send
    raise ConnectionError(e, request=request)
"""
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(autouse=True)
def a_site_at_work(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    now = db_now()
    for name in ("default", "mail", "reports"):
        Queue.objects.create(name=name)
    Traceback.objects.create(fingerprint="f1", text=TRACEBACK)
    web = Worker.objects.create(id=uuid4(), host="web-1", pid=4127, beat_at=now, alive_until=now + timedelta(hours=1))
    for number in range(3):
        made(number, "succeeded", finished_at=now, started_at=now - timedelta(seconds=0.4), worker=web.pk)
    for number in range(50):
        failed(number, web)
    report = {"task_path": admin_tasks.report.module_path, "args": [], "queue_name": "reports"}
    made(0, "running", **report, kwargs={"month": "2026-07"}, worker=web.pk, claimed_at=now, started_at=now, attempt=1)
    made(0, "retrying", run_after=now + timedelta(minutes=2), last_error="ConnectionError: the gateway is closed")
    made(0, "scheduled", **report, kwargs={"month": "2026-12"}, run_after=now + timedelta(days=3))
    made(0, "cancelled", finished_at=now, reason="cancelled by ada")
    for number in range(4):
        made(number, "queued", queue_name="mail")


def made(number: int, state: str, **values) -> Job:
    call = {"task_path": TASK, "args": [1000 + number], "kwargs": {"amount": 49.9, "pin": "1234"}}
    return Job.objects.create(**call | {"state": state, "created_by": "ada"} | values)


def failed(number: int, worker: Worker) -> Job:
    now = db_now() - timedelta(minutes=50 - number)
    error = f"payment gateway timed out for order {1000 + number}"
    one = made(
        number,
        "failed",
        enqueued_at=now - timedelta(seconds=40),
        finished_at=now,
        attempt=3,
        max_attempts=3,
        last_error=f"ConnectionError: {error}",
    )
    for attempt in (1, 2, 3):
        ended = now - timedelta(seconds=12 * (3 - attempt))
        Attempt.objects.create(
            job=one,
            number=attempt,
            kind="failed",
            worker=worker.pk,
            started_at=ended - timedelta(seconds=2),
            finished_at=ended,
            exception_class="requests.exceptions.ConnectionError",
            message=error,
            fingerprint="f1",
        )
    return one


# As few steps as promised


def test_two_pages_lead_from_the_index_to_an_error_and_three_to_its_traceback(site):
    page = site.page("/admin/")
    visited = []
    page.on("framenavigated", lambda frame: visited.append(frame.url))

    page.click("#content-main a:text-is('Jobs')")
    page.click(".dj-tabs a:has-text('Failed')")
    page.wait_for_url("**state=failed**")
    assert "ConnectionError: payment gateway timed out for order 1049" in page.inner_text("#result_list")
    assert len(visited) == 2

    page.click("#result_list a:has-text('1049')")
    page.wait_for_selector("pre:has-text('gateway.charge(order, amount)')")
    assert len(visited) == 3


def test_fifty_failed_jobs_are_retried_from_the_list_by_one_click(site):
    page = site.page(JOBS + "?state=failed")

    page.click("button:text-is('Retry all 50 failed jobs')")
    page.wait_for_selector("text=50 jobs were queued again.")
    page.wait_for_load_state()

    assert "No job has failed: all is well." in page.inner_text("main")
    assert not Job.objects.filter(state="failed").exists()


# The list


def test_jobs_are_searched_as_the_help_says(site):
    page = site.page(JOBS)

    page.fill("#searchbar", 'error:"order 1007"')
    page.keyboard.press("Enter")
    page.wait_for_url("**q=error**")
    assert page.locator("#result_list tbody tr").count() == 1
    assert page.locator("button:text-is('Retry 1 failed job')").is_visible()

    page.fill("#searchbar", "fehler:7")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert]:has-text('“fehler:” is not known here')")


def test_older_and_newer_lead_there_and_back(site):
    page = site.page(JOBS)
    first = page.locator("#result_list tbody tr").first.inner_text()

    page.click(".dj-pages a:has-text('Older')")
    page.wait_for_url("**before=**")
    assert page.locator("#result_list tbody tr").count() == 11
    page.click(".dj-pages a:has-text('Newer')")
    page.wait_for_url("**after=**")

    assert page.locator("#result_list tbody tr").first.inner_text().split("\t")[:2] == first.split("\t")[:2]


def test_what_happens_is_shown_in_the_list_without_asking(site):
    page = site.page(JOBS + "?state=queued")
    assert page.locator("#result_list tbody tr").count() == 4

    made(77, "queued")
    page.wait_for_selector("#result_list:has-text('charge_card(1077')", timeout=60_000)
    page.click("#action-toggle")

    assert page.locator("#result_list input.action-select:checked").count() == 5
    assert "5 of 5 selected" in page.inner_text("#changelist-form")


def test_a_list_changes_below_the_eyes_of_nobody_who_has_chosen_rows(site):
    page = site.page(JOBS)
    page.check("#result_list tbody tr:nth-child(2) input")
    page.mouse.move(1, 1)
    made(78, "queued")
    page.wait_for_selector(".dj-tabs:has-text('62')", timeout=60_000)

    assert page.is_checked("#result_list tbody tr:nth-child(2) input")
    assert "1078" not in page.inner_text("#result_list")

    page.uncheck("#result_list tbody tr:nth-child(2) input")
    page.evaluate("document.activeElement.blur()")
    page.mouse.move(1, 1)
    page.wait_for_selector("#result_list:has-text('charge_card(1078')", timeout=60_000)
    page.check("#result_list tbody tr:first-child input")
    assert "1 of 50 selected" in page.inner_text("#changelist-form")


def test_the_first_job_appears_where_there_was_none(site):
    page = site.page(JOBS + "?q=queue:slow")
    assert "No job is like that." in page.inner_text("main")

    made(79, "queued", queue_name="slow")

    page.wait_for_selector("#result_list:has-text('charge_card(1079')", timeout=60_000)


# One job


def test_library_frames_open_on_demand_and_the_report_is_copied(site):
    one = Job.objects.filter(state="failed").last()
    page = site.page(f"{JOBS}{one.pk}/change/")
    assert not page.locator("text=sessions.py").first.is_visible()

    page.click("text=2 frames of libraries")
    assert page.locator("text=sessions.py").first.is_visible()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.click("text=Copy for a bug report")
    page.click("button:text-is('Copy')")
    page.wait_for_selector("button:text-is('Copied')")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert "requests.exceptions.ConnectionError: payment gateway timed out" in copied
    assert "pin = hidden" in copied


def test_a_job_is_retried_with_other_arguments(site):
    one = Job.objects.filter(state="failed").last()
    page = site.page(f"{JOBS}{one.pk}/change/")

    page.click("text=Retry with changed arguments…")
    page.fill("[name=arg-amount]", "5")
    page.click("text=Retry with these arguments")
    page.wait_for_selector("text=Queued again with these arguments.")
    page.wait_for_load_state()

    assert "charge_card(order_id=1049, amount=5.0, pin=hidden)" in page.inner_text("h1, #content h1")
    one.refresh()
    assert one.kwargs == {"order_id": 1049, "amount": 5.0, "pin": "1234"}


def test_a_running_job_is_followed_to_its_end(site):
    one = Job.objects.get(state="running")
    page = site.page(f"{JOBS}{one.pk}/change/")
    Job.objects.filter(pk=one.pk).update(progress={"done": 30, "total": 120}, log="2026-07-31 10:00:00 a line\n")
    page.wait_for_selector("progress[value='30']", timeout=60_000)
    page.wait_for_selector("pre:has-text('a line')", timeout=60_000)
    assert page.locator("button:text-is('Cancel')").is_visible()

    Job.objects.filter(pk=one.pk).update(state="succeeded", finished_at=db_now(), return_value=42)
    page.wait_for_selector("button:text-is('Run again')", timeout=60_000)

    assert "Succeeded" in page.inner_text(".dj-steps")
    assert "42" in page.inner_text("main")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(5_000)
    assert asked == []


# For everybody


@pytest.mark.parametrize("options", [{}, PHONE], ids=["desk", "phone"])
def test_it_works_without_scripts(site, options):
    one = Job.objects.filter(state="failed").last()
    page = site.page(JOBS + "?state=failed", java_script_enabled=False, **options)
    assert page.locator("main").bounding_box()["width"] <= options.get("viewport", {"width": 1280})["width"]

    page.click(f"#result_list a[href*='{one.pk}']")
    page.wait_for_url(f"**{one.pk}**")
    page.click("text=Copy for a bug report")
    assert page.locator("#dj-report").is_visible()
    assert not page.locator("button:text-is('Copy')").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth") if not options else True
    page.click("button:text-is('Run again')")
    page.wait_for_selector("text=This is the copy; it is enqueued.")

    assert Job.objects.get(copied_from=one.pk).state == "queued"


@pytest.mark.parametrize("address", ["", "?state=failed", "?q=foo:bar", "{pk}/change/", "{pk}/arguments/"])
def test_nothing_is_wider_than_a_phone(site, address):
    one = Job.objects.filter(state="failed").last()

    page = site.page(JOBS + address.format(pk=one.pk), **PHONE)

    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_it_lives_under_a_strict_content_security_policy(site):
    one = Job.objects.filter(state="failed").last()
    page = site.page("/admin/login/")

    def answer_strictly(route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": "default-src 'self'"})

    page.route(f"**{JOBS}**", answer_strictly)
    for address in ("", "?state=failed", f"{one.pk}/change/", f"{one.pk}/arguments/"):
        page.goto(JOBS + address)
    page.goto(JOBS)
    made(80, "queued")

    page.wait_for_selector("#result_list:has-text('charge_card(1080')", timeout=60_000)  # and no complaint
    page.unroute_all(behavior="wait")
