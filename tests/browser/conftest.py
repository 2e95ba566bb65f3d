"""A real browser on the suite's own site: chromium, driven by Playwright, on Django's live server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from django.contrib.auth import get_user_model

from tests.browser.site import CHROMIUM, Site

PATIENCE = 20_000  # milliseconds to wait for anything on a busy machine


@pytest.fixture(scope="package")
def browser() -> Iterator:
    """Chromium, started once for these tests: while it runs, no other test of this thread can run a loop of its own."""
    from playwright.sync_api import expect, sync_playwright  # here: needed only with a browser

    expect.set_options(timeout=PATIENCE)
    # Playwright's loop runs in this thread, where Django would refuse the database.
    before = os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()
    if before is None:
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


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
