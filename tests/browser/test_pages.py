"""Every page of ours in every look: no complaint of the browser, usable by everybody, not too wide, and a picture."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, User

from django_jobs.tasks import registry
from tests.browser import demo
from tests.browser.axe import violations
from tests.browser.pages import LOOKS, PAGES, STOCK, Page
from tests.browser.pictures import take
from tests.served import served_at

pytestmark = pytest.mark.once
DOCS = Path(__file__).resolve().parents[2] / "docs" / "images"
_known: dict[str, set[tuple[str, str]]] = {}  # what axe finds on pages of Django's own, by look


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


@pytest.fixture(autouse=True)
def without_tasks_of_other_tests(monkeypatch):
    """Offer the shop's tasks alone, whatever else is loaded: pictures are to be the same in each run."""
    tasks = {path: task for path, task in registry.all_tasks().items() if not path.startswith("tests.")}
    monkeypatch.setattr(registry, "_tasks", tasks)


@pytest.fixture
def rows(transactional_db) -> dict[str, str]:
    return demo.fill()


@pytest.fixture(autouse=True)
def at_the_same_moment():
    with served_at(demo.NOW):
        yield


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Where pictures go: into the docs if that was asked for, see the Makefile."""
    return DOCS if os.environ.get("DJANGO_JOBS_IMAGES") else tmp_path


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_is_usable_by_everybody_and_makes_a_picture(site, rows, pictures, page: Page, look: str):
    known = known_of_django(site, look)

    shown = site.page(page.path.format(**rows), visitor=not page.is_admin, **LOOKS[look])

    assert shown.title()
    found = [str(one) for one in violations(shown) if (one.rule, one.shape) not in known]
    assert not found, "\n".join(found)
    excess = shown.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert excess <= 0, f"{excess} pixels wider than the window"
    assert take(shown, pictures / f"{page.name}-{look}.png", page.height) < 150_000


def known_of_django(site, look: str) -> set[tuple[str, str]]:
    """Return what is to be found on Django's own pages, which the browser does not complain of either."""
    if look not in _known:
        group = Group.objects.create(name="Those who answer the telephone on Tuesdays and Thursdays")
        keys = {"user": User.objects.get().pk, "group": group.pk}
        _known[look] = {
            (one.rule, one.shape) for path in STOCK for one in violations(site.page(path.format(**keys), **LOOKS[look]))
        }
        site.close()
        assert site.complaints == []
    return _known[look]
