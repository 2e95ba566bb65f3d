"""Schedules as people meet them: the editor with its live preview, the list, and the next 24 hours."""

from __future__ import annotations

import pytest

from django_jobs.models import Job, Schedule
from tests.app import admin_tasks
from tests.test_schedules import saved

pytestmark = pytest.mark.once
SCHEDULES = "/admin/django_jobs/schedule/"
TASK = admin_tasks.charge_card.module_path


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


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
    page.wait_for_selector("#dj-preview:has-text('only on Monday')")
    page.fill("[name=arg-order_id]", "7")  # the fields of the task are there now
    page.click("[name=_save]")
    page.wait_for_selector(".messagelist:has-text('was added successfully')")

    page.click("[role=switch][aria-label='Plain']")
    page.wait_for_selector(".messagelist:has-text('1 schedule was changed')")
    page.click("button:has-text('Run now')")
    page.wait_for_selector(".messagelist .success a")

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
