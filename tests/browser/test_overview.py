"""The overview as a person sees it: alerts, buttons, and a refresh that does not disturb."""

from __future__ import annotations

from datetime import timedelta
from uuid import uuid4

import pytest

from django_jobs.models import Attempt, Counter, Job, Queue, Schedule, Worker, db_now
from tests.app import admin_tasks

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]
OVERVIEW = "/admin/django_jobs/overview/"
TASK = admin_tasks.charge_card.module_path


@pytest.fixture(autouse=True)
def a_site_in_some_trouble(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    now = db_now()
    for name in ("default", "reports"):
        Queue.objects.create(name=name)
    times = {"beat_at": now, "alive_until": now + timedelta(hours=1), "info": {"memory_mb": 184}}
    web = Worker.objects.create(id=uuid4(), host="web-1", pid=4127, slots=4, queues=["default"], **times)
    call = {"task_path": TASK, "args": [1042], "kwargs": {"amount": 49.9}}
    Job.objects.create(state="running", worker=web.pk, **call)
    Job.objects.create(queue_name="reports", enqueued_at=now - timedelta(minutes=6), **call)
    failed = Job.objects.create(state="failed", finished_at=now, attempt=1, last_error="ConnectionError: no", **call)
    failed.refresh()
    failed_attempt(failed)
    Schedule.objects.create(name="Nightly report", task_path=TASK, cron="30 2 * * *")
    minute = now.replace(second=0, microsecond=0)
    for ago in range(55):
        shown = {"since": minute - timedelta(minutes=ago), "seconds": 60, "queue_name": "default"}
        Counter.objects.create(kind="succeeded", count=40 + 7 * ago % 60, **shown)
        if ago % 4 == 0:
            Counter.objects.create(kind="failed", count=1 + ago % 3, **shown)


def failed_attempt(job: Job) -> None:
    Attempt.objects.create(
        job=job,
        number=1,
        kind="failed",
        exception_class="requests.ConnectionError",
        message="payment gateway timed out for order 1042",
        fingerprint="f1",
    )


def wait_for_refresh(page) -> None:
    """Wait until the page has asked for itself twice: what the first one brought is on it then."""
    for _ in range(2):
        page.wait_for_event("requestfinished", lambda request: request.url.endswith(OVERVIEW), timeout=60_000)


def test_two_clicks_lead_from_the_index_to_fifty_jobs_retried(site):
    page = site.page("/admin/")

    page.click("text=Overview")
    page.click("button:has-text('Retry 1')")
    page.wait_for_selector("text=1 job was queued again.")

    assert not Job.objects.filter(state="failed").exists()


def test_what_happens_is_shown_without_asking(site):
    page = site.page(OVERVIEW)
    assert 'No worker listens to "reports"' in page.inner_text(".dj-alerts")

    Queue.objects.filter(name="reports").update(paused_at=db_now(), paused_by="ada", reason="a deploy")

    page.wait_for_selector(".dj-alerts:has-text('by ada')", timeout=60_000)
    assert page.locator(".dj-chart rect").count() > 60


def test_a_refresh_leaves_alone_what_one_works_in(site):
    page = site.page(OVERVIEW)
    page.click("summary:has-text('Pause')")
    page.fill("#dj-why-1", "half a rea")
    Queue.objects.filter(name="reports").update(paused_at=db_now(), paused_by="ada")
    page.wait_for_selector(".dj-alerts:has-text('by ada')", timeout=60_000)

    assert page.input_value("#dj-why-1") == "half a rea"
    assert page.evaluate("document.activeElement.id") == "dj-why-1"

    page.keyboard.type("son")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 queue was paused.")
    assert Queue.objects.get(name="default").reason == "half a reason"


def test_it_says_so_when_the_site_does_not_answer(site):
    site.tolerated.append("Failed to load resource")
    page = site.page(OVERVIEW)
    page.route("**/overview/", lambda route: route.abort())

    page.wait_for_selector("[data-dj-live-status]:has-text('No answer; it is tried again in 10 s')", timeout=60_000)


def test_a_hidden_page_asks_for_nothing(site):
    page = site.page(OVERVIEW)
    asked = []
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {get: () => true});"
        "document.dispatchEvent(new Event('visibilitychange'))"
    )
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(7_000)

    assert asked == []


@pytest.mark.parametrize(
    ("options", "width"),
    [({}, 1280), ({"viewport": {"width": 390, "height": 844}}, 390)],
    ids=["desk", "phone"],
)
def test_it_fits_without_scripts_too(site, options, width):
    page = site.page(OVERVIEW, java_script_enabled=False, **options)

    assert page.locator(".dj-tile").count() == 6
    assert page.locator("main").bounding_box()["width"] <= width
    page.click("button:has-text('Quiet')")
    page.wait_for_selector("main:has-text('takes nothing more')")


def test_the_keyboard_alone_retries_and_pauses(site):
    page = site.page(OVERVIEW)

    tab_to(page, "Pause…")
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.type("a deploy")
    tab_to(page, "Pause")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 queue was paused.")
    tab_to(page, "Retry 1")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 job was queued again.")

    assert Queue.objects.get(reason="a deploy").paused_by == "ada"
    assert not Job.objects.filter(state="failed").exists()


FOCUSED = """() => {
    const node = document.activeElement;
    const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(node);
    const isMarked = outlineStyle !== "none" && parseFloat(outlineWidth) > 0 || boxShadow !== "none";
    return [node.innerText.trim(), isMarked || !node.closest("#content-main")];
}"""


def tab_to(page, words: str) -> None:
    """Press Tab until the focus is on what begins with those words; all on the way is seen to have it."""
    for _ in range(100):
        page.keyboard.press("Tab")
        text, is_marked = page.evaluate(FOCUSED)
        assert is_marked, text
        if text.startswith(words):
            return
    raise AssertionError(f"Tab does not lead to {words!r}")
