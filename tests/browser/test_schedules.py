"""Schedules as people meet them: the editor with its live preview, the list, and the next 24 hours."""

from __future__ import annotations

from datetime import timedelta

import pytest

from django_jobs.models import Job, Schedule, ScheduleRun, db_now
from tests.app import admin_tasks
from tests.test_schedules import saved

pytestmark = pytest.mark.once
SCHEDULES = "/admin/django_jobs/schedule/"
TASK = admin_tasks.charge_card.module_path
PHONE = {"viewport": {"width": 390, "height": 844}}


@pytest.fixture(autouse=True)
def strict(settings):
    """A site with a strict policy for content, as Django 6 can send it: no inline script, no inline style."""
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.strict_policy"]


def strict_policy(get_response):
    def respond(request):
        response = get_response(request)
        response["Content-Security-Policy"] = "default-src 'self'; object-src 'none'; base-uri 'none'"
        return response

    return respond


def preview(page) -> str:
    return page.inner_text("#dj-preview")


def waits_for(page, words: str) -> None:
    page.wait_for_function("words => document.querySelector('#dj-preview').innerText.includes(words)", arg=words)


def test_a_schedule_is_made_while_the_preview_answers(site):
    page = site.page(f"{SCHEDULES}add/")

    page.fill("[name=name]", "Nightly report")
    page.select_option("[name=task_path]", TASK)
    page.wait_for_selector("[name=arg-order_id]")
    page.fill("[name=arg-order_id]", "7")
    page.select_option("[name=when]", "cron")
    assert page.is_hidden("[name=every_0]")
    page.fill("[name=cron]", "0 2 31 2 *")
    waits_for(page, "does not come in the month")
    page.fill("[name=cron]", "0 7 * * mon-fri")
    waits_for(page, "Monday through Friday")
    assert preview(page).count("07:00 CE") == 5
    assert not Schedule.objects.exists()
    page.click("[name=_save]")
    page.wait_for_selector(".messagelist .success")

    one = Schedule.objects.get()
    assert (one.name, one.cron, one.kwargs, one.overlap) == (
        "Nightly report",
        "0 7 * * mon-fri",
        {"order_id": 7},
        "skip",
    )


def test_what_is_being_typed_stays_while_the_preview_changes(site):
    page = site.page(f"{SCHEDULES}{saved(args=[], kwargs={'order_id': 1}).pk}/change/")

    page.click("[name=arg-order_id]")
    page.keyboard.press("End")
    page.keyboard.type("23")
    page.keyboard.press("Backspace")
    page.select_option("[name=when]", "daily")
    page.fill("[name=at]", "06:30")
    waits_for(page, "At 06:30")

    assert page.input_value("[name=arg-order_id]") == "12"


def test_without_javascript_the_whole_way_works(site):
    page = site.page(f"{SCHEDULES}add/", java_script_enabled=False)

    page.fill("[name=name]", "Plain")
    page.select_option("[name=task_path]", TASK)
    page.select_option("[name=when]", "weekly")
    page.fill("[name=at]", "07:30")
    page.check("[name=weekdays][value='1']")
    page.click("[name=_preview]")
    assert "only on Monday" in preview(page)
    page.fill("[name=arg-order_id]", "7")  # the fields of the task are there now
    page.click("[name=_save]")
    assert "was added successfully" in page.inner_text(".messagelist")

    page.click("[role=switch][aria-label='Plain']")
    assert "1 schedule was changed" in page.inner_text(".messagelist")
    page.click("button:has-text('Run now')")

    one = Schedule.objects.get()
    assert (one.cron, one.enabled) == ("30 7 * * 1", False)
    assert Job.objects.get().created_by == "ada"


def test_the_keyboard_alone_switches_and_runs(site):
    saved(name="evening")
    page = site.page(SCHEDULES)

    page.focus("[role=switch]")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=switch][aria-checked=false]")
    page.focus("button:has-text('Run now')")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist .success a")

    assert Job.objects.count() == 1


@pytest.mark.parametrize("options", [{}, PHONE], ids=["wide", "phone"])
def test_no_page_is_wider_than_the_window(site, options):
    one = saved(name="A schedule with a name of some length", cron="*/5 7-19 1,15 * mon-fri", timezone="Europe/Riga")
    for number in range(12):
        job = Job.objects.create(task_path=TASK, args=[1], schedule=one)
        ScheduleRun.objects.create(schedule=one, due_at=db_now() - timedelta(hours=number), job=job.pk)

    for path in (SCHEDULES, f"{SCHEDULES}{one.pk}/change/", f"{SCHEDULES}add/", f"{SCHEDULES}day/"):
        page = site.page(path, **options)
        excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert excess <= 0, f"{path} is {excess} pixels too wide"
        page.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_words_stand_out_from_their_ground(site, scheme):
    one = saved(name="evening")
    Schedule.objects.filter(pk=one.pk).update(key="x", declared={"overlap": "queue"})
    saved(name="off", enabled=False)
    for kind, job in (("skipped", None), ("due", Job.objects.create(task_path=TASK, args=[1]).pk)):
        ScheduleRun.objects.create(schedule=one, due_at=db_now(), kind=kind, job=job)
    page = site.page(SCHEDULES, color_scheme=scheme)

    faint = page.evaluate(CONTRAST, "#result_list .dj-run, .dj-switch, .dj-state, .dj-button, .dj-second, .dj-time")

    assert faint == []


# Returns what has less than 4.5:1, as WCAG counts it.
CONTRAST = """selector => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = node => {
        for (; node; node = node.parentElement) {
            const colour = rgb(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll(selector)].map(node => {
        const [low, high] = [light(rgb(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => a - b);
        return [node.className + " " + node.innerText, (high + 0.05) / (low + 0.05)];
    }).filter(([, ratio]) => ratio < 4.5);
}"""
