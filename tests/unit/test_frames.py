"""A traceback's text is taken apart into one's own frames and those of libraries, or left as it is."""

from __future__ import annotations

import sysconfig
import traceback

import pytest

from django_jobs.admin.frames import LIBRARY, OWN, WORDS, is_own, own_text, parts

pytestmark = pytest.mark.once
SHOP = '  File "/srv/shop/tasks.py", line 31, in charge_card\n    gateway.charge(order)\n    ~~~~~~~~~~~~~~^^^^^^^'
REQUESTS = '  File "/srv/venv/lib/python3.12/site-packages/requests/api.py", line 5, in post\n    return request()'
HEAD = "Traceback (most recent call last):\n"


def kinds(text: str) -> list[tuple[str, int]]:
    return [(part.kind, part.count) for part in parts(text)]


def test_own_frames_are_told_from_those_of_libraries():
    text = HEAD + "\n".join([SHOP, SHOP, REQUESTS, REQUESTS, REQUESTS, SHOP]) + "\n"

    assert kinds(text) == [(OWN, 2), (LIBRARY, 3), (OWN, 1)]
    assert parts(text)[0].text == f"{SHOP}\n{SHOP}"


@pytest.mark.parametrize(
    "file",
    [
        "/srv/venv/lib/python3.12/site-packages/requests/api.py",
        "/usr/lib/python3/dist-packages/yaml/__init__.py",
        "/usr/lib/python3.12/json/decoder.py",
        "/usr/local/lib64/python3.13/concurrent/futures/thread.py",
        r"C:\Python312\Lib\json\decoder.py",
        r"C:\shop\venv\Lib\site-packages\requests\api.py",
        "<frozen importlib._bootstrap>",
        "<string>",
        f"{sysconfig.get_path('stdlib')}/json/decoder.py",
    ],
)
def test_files_of_libraries(file):
    assert not is_own(file)


@pytest.mark.parametrize("file", ["/srv/shop/tasks.py", r"C:\shop\tasks.py", "shop/tasks.py", "/home/lib/shop/api.py"])
def test_files_of_ones_own(file):
    assert is_own(file)


def test_a_chain_keeps_the_words_between_its_exceptions():
    text = (
        f"{HEAD}{SHOP}\nKeyError: 'inner'\n\nThe above exception was the direct cause of the following exception:\n\n"
        f"{HEAD}{REQUESTS}\n"
    )

    assert kinds(text) == [(OWN, 1), (WORDS, 0), (LIBRARY, 1)]
    assert "KeyError: 'inner'" in parts(text)[1].text
    assert "direct cause" in own_text(text)
    assert "requests" not in own_text(text)


def test_a_repeated_line_belongs_to_its_frame():
    text = f"{HEAD}{SHOP}\n  [Previous line repeated 996 more times]\n{REQUESTS}\n"

    assert kinds(text) == [(OWN, 1), (LIBRARY, 1)]
    assert "996 more" in parts(text)[0].text


def test_a_real_traceback_is_taken_apart():
    try:
        try:
            int("x")
        except ValueError as error:
            raise RuntimeError("outer\n    in two lines") from error
    except RuntimeError:
        text = "".join(traceback.format_exc().splitlines(keepends=True)[:-2])

    assert [kind for kind, _count in kinds(text)] == [OWN, WORDS, OWN]


def group() -> str:
    try:
        raise ExceptionGroup("many", [ValueError("one"), ExceptionGroup("inner", [KeyError("two")])])
    except ExceptionGroup:
        return traceback.format_exc()


@pytest.mark.parametrize("text", [group(), "", "\n", "no traceback at all", "  <the rest could not be told>\n", HEAD])
def test_what_is_of_another_form_is_left_as_it_is(text):
    assert parts(text) == []
    assert own_text(text) == text


def test_a_syntax_error_is_words():
    text = f'{HEAD}{SHOP}\n  File "/srv/shop/broken.py", line 1\n    def\n       ^\n'

    assert kinds(text) == [(OWN, 1), (WORDS, 0)]


def test_without_own_frames_the_text_stays_whole():
    text = f"{HEAD}{REQUESTS}\n"

    assert kinds(text) == [(LIBRARY, 1)]
    assert own_text(text) == text
