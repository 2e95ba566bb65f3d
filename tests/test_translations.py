"""Translations: every catalog has what the code says, in its own words, with the same gaps, and is compiled."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from babel.messages import Catalog, Message
from django.contrib.auth.models import User
from django.utils import translation

from django_jobs.tasks import registry
from tests import translations
from tests.browser import demo
from tests.browser.pages import PAGES
from tests.served import served_at

pytestmark = pytest.mark.once
CATALOGS = list(translations.catalogs())
GAP = re.compile(r"%(?:\((\w+)\))?[sd]|\{(\w*)\}")


@pytest.fixture(params=CATALOGS, ids=lambda path: path.parts[-3])
def path(request):
    return request.param


def entries(catalog: Catalog) -> dict[tuple, Message]:
    return {(message.context, message.id): message for message in catalog if message.id}


def test_there_is_a_german_one():
    assert [path.parts[-3] for path in CATALOGS] == ["de"]


def test_a_catalog_has_the_messages_of_the_code_and_no_others(path):
    in_code, in_catalog = entries(translations.messages()), entries(translations.read(path))

    assert in_code.keys() ^ in_catalog.keys() == set()  # python -m tests.translations brings it up to date


def test_every_message_is_translated(path):
    missing = [
        message.id
        for message in entries(translations.read(path)).values()
        if message.fuzzy or not all(translations.texts(message.string))
    ]

    assert missing == []


def test_a_translation_has_the_gaps_of_its_message(path):
    for message in entries(translations.read(path)).values():
        wanted = set(GAP.findall(" ".join(translations.texts(message.id))))
        for text in translations.texts(message.string):
            found = set(GAP.findall(text))
            assert found <= wanted, message.id
        assert set(GAP.findall(translations.texts(message.string)[-1])) == wanted, message.id


def test_a_catalog_is_compiled(path):
    assert path.with_suffix(".mo").read_bytes() == translations.compiled(translations.read(path))


def test_django_finds_it():
    with translation.override("de"):
        assert translation.pgettext("job state", "succeeded") == "erfolgreich"


class Texts(HTMLParser):
    """The texts of a page, each as it stands between two tags."""

    def __init__(self, html: str):
        super().__init__()
        self.found: set[str] = set()
        self.feed(html)

    def handle_data(self, data: str) -> None:
        self.found.add(" ".join(data.split()))


@pytest.mark.django_db
def test_the_pages_of_the_admin_are_in_german(client, settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    [path] = CATALOGS
    english = {
        message.id: message.string
        for message in entries(translations.read(path)).values()
        if isinstance(message.id, str) and message.id != message.string
    }
    for task in registry.all_tasks().values():
        english.pop(task.name, None)  # of other tests: names stay as they are
    rows = demo.fill()
    client.force_login(User.objects.create_superuser("ada"))

    with served_at(demo.NOW), translation.override("de"):
        pages = {
            page.name: Texts(client.get(page.path.format(**rows)).content.decode()).found
            for page in PAGES
            if page.is_admin
        }

    left = {name: found & english.keys() for name, found in pages.items()}
    assert {name: texts for name, texts in left.items() if texts} == {}
    assert all(len(found & set(english.values())) > 5 for found in pages.values())
