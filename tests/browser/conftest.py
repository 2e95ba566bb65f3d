"""A real browser on the suite's own site: chromium, driven by Playwright, on Django's live server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="package")
def browser() -> Iterator:
    """Chromium, started once for these tests: while it runs, no other test of this thread can run a loop of its own."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: install it to see the pages tested in a real browser")
    from playwright.sync_api import sync_playwright  # here: needed only with a browser

    # Playwright's loop runs in this thread, where Django would refuse the database.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


class Site:
    """Opens pages of the live server as a superuser, and remembers what the browser complained of."""

    def __init__(self, browser, live_server, session: str):
        self._browser = browser
        self._session = session
        self.url = live_server.url
        self.complaints: list[str] = []

    def page(self, path: str, **options):
        context = self._browser.new_context(
            base_url=self.url, **({"viewport": {"width": 1280, "height": 900}} | options)
        )
        context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": self._session, "url": self.url}])
        page = context.new_page()
        page.on("console", self._listen)
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.goto(path)
        return page

    def _listen(self, message) -> None:
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self.complaints.append(message.text)


@pytest.fixture
def site(browser, live_server, client, transactional_db) -> Iterator[Site]:
    """The live site, seen by a superuser; the test fails when the browser found anything wrong with a page."""
    user = get_user_model().objects.create_superuser("ada", "ada@example.org", "secret")
    client.force_login(user)
    site = Site(browser, live_server, client.session.session_key)
    yield site
    for context in browser.contexts:
        context.close()
    assert site.complaints == []
