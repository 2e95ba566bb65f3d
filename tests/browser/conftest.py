"""A real browser on the suite's own site: chromium, driven by Playwright, on Django's live server."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

import pytest
from django.conf import settings
from django.contrib.auth import get_user_model

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

# Tells of what the page's policy forbids, wherever it happens.
WATCH = """document.addEventListener("securitypolicyviolation", event => window.complain(
    `${event.violatedDirective} forbids ${event.blockedURI || event.sample} at ${event.sourceFile}:${event.lineNumber}`
))"""


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
    """Opens pages of a server, and remembers what the browser complained of.

    All pages are served under a strict Content Security Policy, see tests/served.py. A complaint is an error in the
    console or in a script, something that the policy forbids, or a request to another host.
    """

    def __init__(self, browser, url: str, session: str):
        self._browser = browser
        self._session = session
        self.url = url
        self.complaints: list[str] = []
        self.tolerated: list[str] = []  # parts of complaints that a test provokes

    def page(self, path: str, *, visitor: bool = False, **options):
        """Open a page as a superuser, or as a visitor who is not logged in."""
        context = self._browser.new_context(
            base_url=self.url, **({"viewport": {"width": 1280, "height": 900}} | options)
        )
        if not visitor:
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": self._session, "url": self.url}])
        if options.get("java_script_enabled", True):
            context.expose_function("complain", self._complain)
            context.add_init_script(WATCH)
        context.on("request", self._look_where_it_goes)
        context.on("console", self._listen)
        page = context.new_page()
        page.on("pageerror", lambda error: self._complain(str(error)))
        page.goto(path)
        return page

    def close(self) -> None:
        for context in self._browser.contexts:
            context.close()

    def _complain(self, what: str) -> None:
        if not any(part in what for part in self.tolerated):
            self.complaints.append(what)

    def _look_where_it_goes(self, request) -> None:
        if not request.url.startswith((f"{self.url}/", "data:", "blob:")):
            self._complain(f"a request to another host: {request.url}")

    def _listen(self, message) -> None:
        if message.type == "error" and not message.location["url"].endswith("/favicon.ico"):
            self._complain(f"{message.text} ({message.location['url']})")


@pytest.fixture
def session(client, transactional_db) -> str:
    """The key of a superuser's session."""
    client.force_login(get_user_model().objects.create_superuser("ada", "ada@example.org", "secret"))
    return client.session.session_key


@pytest.fixture
def site(browser, live_server, session) -> Iterator[Site]:
    """The live site, seen by a superuser; the test fails when the browser found anything wrong with a page."""
    site = Site(browser, live_server.url, session)
    yield site
    site.close()
    assert site.complaints == []
