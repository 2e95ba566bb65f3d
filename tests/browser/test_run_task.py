"""Running a task by hand, and the jobs of an object, as people meet them."""

from __future__ import annotations

import pytest

from django_jobs.models import Job
from tests.app import admin_tasks
from tests.app.models import Effect
from tests.app.tasks import add

pytestmark = pytest.mark.once
OVERVIEW, RUN = "/admin/django_jobs/overview/", "/admin/django_jobs/job/add/"
CHARGE = f"{RUN}?task={admin_tasks.charge_card.module_path}"


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


@pytest.fixture
def order() -> Effect:
    return Effect.objects.create(key="order 1042")


def page_of(order: Effect) -> str:
    return f"/admin/tests_app/effect/{order.pk}/change/"


@pytest.mark.parametrize("options", [{}, {"java_script_enabled": False}], ids=["with script", "without"])
def test_a_task_is_found_filled_in_and_run(site, options):
    page = site.page(OVERVIEW, **options)

    page.click("text='Run a task'")
    page.fill("[name=q]", "charge")
    page.click("text='Search'")
    page.click("text='charge_card'")
    page.click("button:has-text('Run')")
    page.wait_for_selector(".errornote")
    page.wait_for_selector(".field-arg-order_id:has-text('This field is required.')")
    page.fill("[name=arg-order_id]", "7")
    page.click("summary")
    page.fill("[name=queue_name]", "reports")
    page.click("button:has-text('Run')")
    page.wait_for_selector(".messagelist .success")

    assert "Enqueued: charge_card(order_id=7)" in page.inner_text(".messagelist")
    job = Job.objects.get()
    assert page.url.endswith(f"/job/{job.pk}/change/")
    assert (job.kwargs, job.queue_name, job.created_by) == ({"order_id": 7}, "reports", "ada")


def test_the_keyboard_alone_runs_a_task(site):
    page = site.page(CHARGE)

    page.focus("[name=arg-order_id]")
    page.keyboard.type("7")
    page.keyboard.press("Enter")
    page.wait_for_selector(".messagelist .success")

    assert Job.objects.get().kwargs == {"order_id": 7}


def test_the_panel_shows_new_jobs_while_one_types_in_the_form_above(site, order):
    page = site.page(page_of(order))
    assert "No job is about this effect yet." in page.inner_text(".dj-panel")

    page.fill("[name=key]", "half typed")
    add.about(order).enqueue(1, 2)
    page.wait_for_selector(".dj-panel :text('add(1, 2)')")

    assert page.input_value("[name=key]") == "half typed"
    page.click(".dj-panel :text('add(1, 2)')")
    page.wait_for_selector("#dj-timeline")
    page.click("text='all its jobs'")
    page.wait_for_selector("#result_list:has-text('add(1, 2)')")


def test_the_panel_works_without_javascript(site, order):
    add.about(order).enqueue(1, 2)
    page = site.page(page_of(order), java_script_enabled=False)

    page.click("text='Show in the list of jobs'")

    page.wait_for_selector("#result_list:has-text('add(1, 2)')")


def test_long_calls_are_not_wider_than_a_phone(site, order):
    add.about(order).enqueue_many([add.s("a word of some length " * 20, 1), add.s("x" * 300, 2)])

    page = site.page(page_of(order), viewport={"width": 390, "height": 844})

    excess = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert excess <= 0, f"{excess} pixels too wide"
