"""Redis or all workers are away: every page of the admin answers all the same, soon, and says so."""

from __future__ import annotations

import time

import pytest
from django.contrib.auth.models import User

from django_jobs.broker.connection import LOOK
from django_jobs.models import Worker
from tests.browser import demo
from tests.browser.pages import PAGES
from tests.served import served_at
from tests.test_admin import text

pytestmark = pytest.mark.once
SOON = 2  # seconds
TRIES = 3  # of which the quickest counts: a busy machine has its part in each


@pytest.fixture
def pages(transactional_db, client) -> list[str]:
    """The addresses of all pages, of a shop whose moment it is; the client is a superuser's."""
    rows = demo.fill()
    client.force_login(User.objects.create_superuser("ada"))
    with served_at(demo.NOW):
        yield [page.path.format(**rows) for page in PAGES if page.is_admin and page.is_ours]


@pytest.mark.parametrize("how", ["pause", "kill"])
def test_every_page_says_soon_that_redis_is_away(how, pages, client, settings, valkey, monkeypatch):
    settings.DJANGO_JOBS = {"QUEUES": []}
    with monkeypatch.context() as patient:
        patient.setitem(LOOK, "socket_timeout", 5)
        assert not any("does not answer" in text(client.get(path)) for path in pages)

    getattr(valkey, how)()

    for path in pages:
        assert min(seconds_of(client, path) for _ in range(TRIES)) < SOON, path


def seconds_of(client, path: str) -> float:
    """Return how long it took a page to say that Redis does not answer."""
    started = time.monotonic()
    shown = text(client.get(path))
    took = time.monotonic() - started
    assert shown.count("does not answer") == 1, path
    return took


@pytest.mark.parametrize("path", ["overview", "queue", "queue/mail/change", "worker"])
def test_pages_about_workers_say_that_none_is_alive(path, pages, client, settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    path = f"/admin/django_jobs/{path}/"
    assert "No worker is alive" not in text(client.get(path))

    Worker.objects.all().delete()

    shown = text(client.get(path))
    assert "No worker" in shown
    assert "manage.py runworker" in shown


def test_what_is_away_is_not_said_again_by_each_refresh(pages, client, settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    Worker.objects.all().delete()

    shown = text(client.get("/admin/django_jobs/worker/", headers={"X-Dj-Live": "1"}))

    assert "No worker is alive" not in shown
