"""Under a theme that draws the admin anew, our pages are there, and what one does on them can be done."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from contextlib import suppress

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from django_jobs.embedded import free_port
from django_jobs.models import Job, Queue
from tests.browser import demo
from tests.browser.axe import violations
from tests.browser.pages import ADMIN, LOOKS, PAGES
from tests.browser.pictures import take
from tests.browser.site import Site
from tests.served import served_at
from tests.services import manage, wait_for

pytestmark = pytest.mark.once
THEMES = ["unfold", "jazzmin"]


@pytest.fixture
def rows(transactional_db) -> Iterator[dict[str, str]]:
    with served_at(demo.NOW):
        yield demo.fill()


@pytest.fixture(params=THEMES)
def themed(request, browser, session, rows) -> Iterator[Site]:
    """A site with a theme, in a process of its own on the same database, seen by a superuser."""
    url = f"http://127.0.0.1:{free_port()}"
    command = ["runserver", url.partition("//")[2], "--noreload", "--settings", f"tests.themes.{request.param}"]
    with manage(*command):
        wait_for(lambda: is_there(url), 60, "the site to answer")
        site = Site(browser, url, session)
        site.tolerated += [*complaints_of_the_theme(site), "actionDropdownOpen"]  # of its button above a job
        yield site
        site.close()
    assert site.complaints == []


def complaints_of_the_theme(site: Site) -> list[str]:
    """Return what the browser complains of on pages that are none of ours, and forget it."""
    for path in ("/admin/", "/admin/auth/user/", f"/admin/auth/user/{User.objects.get().pk}/change/"):
        site.page(path).context.close()
    complaints, site.complaints = site.complaints, []
    return complaints


def is_there(url: str) -> bool:
    with suppress(OSError):
        return urllib.request.urlopen(f"{url}/admin/login/", timeout=10).status == 200
    return False


def test_every_page_is_there(themed, rows, tmp_path):
    for page in PAGES:
        if page.is_admin:
            shown = themed.page(page.path.format(**rows), **LOOKS["light"])
            assert shown.evaluate("performance.getEntriesByType('navigation')[0].responseStatus") == 200
            assert shown.locator("link[href$='django_jobs/admin.css']").count() == 1, page.name
            take(shown, tmp_path / f"{page.name}.png")
            shown.context.close()


@pytest.mark.parametrize("look", LOOKS)
def test_what_is_written_can_be_read(themed, tmp_path, look):
    page = themed.page(f"{ADMIN}/overview/", **LOOKS[look])

    take(page, tmp_path / f"overview-{look}.png")

    ours = [one for one in violations(page) if one.rule == "color-contrast" and one.shape.endswith("ours")]
    assert not ours, "\n".join(map(str, ours))


def test_fifty_jobs_are_retried_and_a_queue_is_paused_from_the_overview(themed):
    page = themed.page(f"{ADMIN}/overview/")

    page.click("button:has-text('Retry 50')")
    page.wait_for_selector("text=50 jobs were queued again.")
    page.click("summary:has-text('Pause… mail')")
    page.fill("#dj-why-3", "a deploy")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=1 queue was paused.")

    assert Queue.objects.get(name="mail").reason == "a deploy"


def test_from_a_tab_to_a_job_that_is_retried(themed, rows):
    page = themed.page(f"{ADMIN}/job/")

    page.click(".dj-tabs a:has-text('Failed')")
    page.wait_for_selector("#result_list >> text=ReadTimeout")
    expect(page.locator("#result_list tbody tr")).to_have_count(50)
    page.goto(f"{ADMIN}/job/{rows['job']}/change/")
    page.click("button:has-text('Retry') >> nth=0")
    page.wait_for_load_state()

    assert Job.objects.get(pk=rows["job"]).state == "queued"
