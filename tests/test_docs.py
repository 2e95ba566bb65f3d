"""The docs say what is: all that users can name is documented, links lead somewhere, the tutorial works."""

from __future__ import annotations

import argparse
import ast
import importlib.util
import inspect
import re
from dataclasses import MISSING, fields
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from django.apps import apps
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand
from django.dispatch import Signal

import django_jobs
from django_jobs import backend, exceptions, schedule, signals, states
from django_jobs.backend import checks as backend_checks
from django_jobs.checks import PROBLEMS
from django_jobs.conf import NAMES, Settings
from django_jobs.models import Job
from django_jobs.scheduler import chores
from django_jobs.tasks import Task, TaskContext
from django_jobs.tasks.decorator import OF_THE_FRAMEWORK
from django_jobs.tasks.options import RULES, UNSET
from tests.browser import pages as browser_pages
from tests.docs_tutorial import Fence, fences, follow

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = [*sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts), ROOT / "README.md"]


def reference(name: str) -> str:
    return (DOCS / "reference" / f"{name}.md").read_text()


def sections(text: str) -> dict[str, str]:
    """Return what stands below each heading, up to the next one of the same level or above."""
    found = list(re.finditer(r"^(#+) (.+)$", text, re.MULTILINE))
    return {
        heading[2]: text[
            heading.end() : next((x.start() for x in found[n + 1 :] if len(x[1]) <= len(heading[1])), None)
        ]
        for n, heading in enumerate(found)
    }


def default_in(section: str) -> Any:
    """Return the value that a section's line with the default shows."""
    shown = re.search(r"Default: `(.+)`$", section, re.MULTILINE)
    assert shown, f"no default in {section[:80]!r}"
    return eval(shown[1], {"timedelta": timedelta, "UNSET": UNSET})  # of our own pages


def in_code(text: str) -> set[str]:
    """Return the names that stand in backticks."""
    return {name for code in re.findall(r"`([^`\n]+)`", text) for name in re.findall(r"[\w.]+", code)}


# Everything that has a name


def test_every_setting_is_documented_with_its_default():
    documented = sections(reference("settings"))

    assert {name for name in documented if name.isupper()} == set(NAMES)
    for name in NAMES:
        assert default_in(documented[name]) == vars(Settings)[name].default, name


def test_every_option_of_a_schedule_is_documented_with_its_default():
    table = sections(reference("tasks"))["schedule"].partition("| --- |")[2]
    shown = {name: eval(default) for name, default in re.findall(r"`(\w+)=([^`]+)`", table)}  # of our own page

    options = inspect.signature(schedule).parameters

    assert shown == {name: option.default for name, option in options.items()}


def test_every_option_of_a_task_is_documented_with_its_default():
    documented = sections(sections(reference("tasks"))["Options"])
    options = {one.name: one for one in fields(Task)}

    assert set(documented) == set(options)
    for name, option in options.items():
        default = option.default_factory() if option.default_factory is not MISSING else option.default
        assert default is MISSING or default_in(documented[name]) == default, name


@pytest.mark.parametrize(
    ("kind", "page", "heading"),
    [(Task, "tasks", "Task"), (Job, "jobs", "Job"), (TaskContext, "jobs", "TaskContext")],
)
def test_every_method_is_documented(kind, page, heading):
    documented = in_code(sections(reference(page))[heading])
    prefix = {"Task": "task.", "Job": "job.", "TaskContext": "context."}[heading]

    missing = {name for name in own_names(kind) if f"{prefix}{name}" not in documented}

    assert missing - ({"prepare", "bind", "check"} if kind is Task else set()) == set()  # those are the worker's


def own_names(kind: type) -> set[str]:
    """Return the public methods and properties that a class defines itself."""

    def is_own(value: Any) -> bool:
        function = value.fget if isinstance(value, property) else getattr(value, "func", value)
        return inspect.isfunction(function) and function.__module__ == kind.__module__

    return {name for name, value in vars(kind).items() if not name.startswith("_") and is_own(value)}


def test_every_public_name_is_documented():
    documented = set().union(*(in_code(path.read_text()) for path in (DOCS / "reference").glob("*.md")))

    bare = {name.rpartition(".")[2] for name in documented}

    assert set(django_jobs.__all__) - bare - {"task"} == set()
    assert "from django_jobs import task" in reference("tasks")


def test_every_exception_is_documented():
    classes = {name for name, value in vars(exceptions).items() if inspect.isclass(value)}

    assert classes - in_code(reference("exceptions")) == set()


def test_every_signal_is_documented():
    names = {name for name, value in vars(signals).items() if isinstance(value, Signal)}

    assert set(first_column(reference("signals"))) == names


def test_every_system_check_is_documented():
    documented = {heading for heading in sections(reference("checks")) if heading.startswith("django_jobs.")}

    assert documented == set(PROBLEMS) | set(backend_checks.PROBLEMS)


def test_every_backend_is_documented():
    assert set(backend.__all__) - in_code(sections(reference("backend"))["Classes"]) == set()


def test_every_option_beside_the_decorator_is_documented():
    options = set(RULES) - OF_THE_FRAMEWORK

    assert options - in_code(sections(reference("backend"))["job_options"]) == set()


def test_every_state_and_transition_is_documented():
    page = sections(reference("states"))

    assert first_column(page["States"])[: len(states.STATES)] == list(states.STATES)
    assert dict(re.findall(r"^\| `(\w+)` \| (\w+) \|", page["States"], re.MULTILINE)) == states.STATUSES
    assert first_column(page["Transitions"]) == [one.name for one in states.TRANSITIONS]


def test_every_column_is_documented():
    page = sections(reference("models"))

    for model in apps.get_app_config("django_jobs").get_models():
        if model._meta.proxy:
            continue  # it has no table of its own
        columns = {name for cell in column_cells(page[model.__name__]) for name in in_code(cell)}
        expected = {field.name for field in model._meta.concrete_fields}
        assert columns - {"id"} == expected - {"id"}, model.__name__


def test_every_chore_is_documented():
    table = sections((DOCS / "explanation" / "architecture.md").read_text())["Chores"]

    shown = re.findall(r"^\| (\w+) \| ([\d.]+) s \|", table, re.MULTILINE)

    assert {(name, float(every)) for name, every in shown} == {(one.name, one.every) for one in chores()}


def first_column(text: str) -> list[str]:
    return re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)


def column_cells(text: str) -> list[str]:
    return re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE)


# Commands


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of every command, and of every verb of one, by what is typed."""
    found = {}
    for name in find_commands(str(ROOT / "django_jobs" / "management")):
        parser = load_command_class("django_jobs", name).create_parser("manage.py", name)
        found[name] = parser
        found |= verbs_of(name, parser)
    return found


def verbs_of(name: str, parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    found = {}
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for verb, of_verb in action.choices.items():
                found |= {f"{name} {verb}": of_verb} | verbs_of(f"{name} {verb}", of_verb)
    return found


def own_options(parser: argparse.ArgumentParser) -> set[str]:
    """Return the options that Django does not give to every command."""
    common = {option for action in BaseCommand().create_parser("", "")._actions for option in action.option_strings}
    given = {option for action in parser._actions for option in action.option_strings}
    return {option for option in given - common if option.startswith("--")}


@pytest.mark.parametrize("command", sorted(parsers()))
def test_every_command_is_documented_with_its_options(command):
    documented = sections(reference("commands"))

    assert command in documented
    own = documented[command].split("\n### ")[0]
    if "The same as [`runworker`]" in own:
        own += documented["runworker"]
    assert own_options(parsers()[command]) - set(re.findall(r"--[a-z-]+", own)) == set()


def test_no_option_is_documented_that_does_not_exist():
    known = set().union(*map(own_options, parsers().values()))

    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", reference("commands"))) - known == set()


# Pages


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", without_code(path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text())):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), target


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_python_on_the_pages_is_python(page):
    for fence in fences(page.read_text()):
        if fence.language == "python":
            ast.parse(fence.text)


def test_every_page_that_is_tested_in_a_browser_has_its_pictures_here():
    shown = set(re.findall(r"\(\.\./images/([\w-]+\.png)\)", reference("pictures")))

    assert shown == {f"{page.name}-{look}.png" for page in browser_pages.PAGES for look in browser_pages.LOOKS}
    assert shown == {path.name for path in (DOCS / "images").iterdir()}


def test_every_page_is_in_the_contents():
    listed = re.findall(
        r"^(?:howto|reference|explanation)/\w+$|^tutorial$|^benchmarks$|^glossary$", index_text(), re.MULTILINE
    )

    pages = {str(path.relative_to(DOCS).with_suffix("")) for path in PAGES if DOCS in path.parents} - {"index"}

    assert set(listed) == pages


def index_text() -> str:
    return (DOCS / "index.md").read_text()


def test_the_readme_names_commands_that_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert set(re.findall(r"`make ([a-z]+)", (ROOT / "README.md").read_text())) <= targets


def test_the_drawing_shows_every_state_and_transition():
    svg = ElementTree.fromstring(drawing().as_svg())

    words = [text.text for text in svg.iter("{http://www.w3.org/2000/svg}text")]

    assert sorted(words) == sorted([*states.STATES, *(one.name for one in states.TRANSITIONS)])
    assert "```{lifecycle}" in (DOCS / "explanation" / "lifecycle.md").read_text()


def drawing() -> ModuleType:
    spec = importlib.util.spec_from_file_location("drawing", DOCS / "drawing.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# The tutorial


def test_the_tutorial_works_to_the_letter(tmp_path):
    follow((DOCS / "tutorial.md").read_text(), tmp_path)


def test_a_fence_is_read_with_its_language_and_file():
    text = "```{code-block} json\n:caption: rates.json\n\n{}\n```\n```console\n$ ls\n```\n"

    assert list(fences(text)) == [
        Fence(language="json", caption="rates.json", text="{}\n"),
        Fence(language="console", caption="", text="$ ls\n"),
    ]


def test_every_test_that_the_page_of_faults_names_is_there():
    page = (DOCS / "explanation" / "faults.md").read_text()
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))

    named = set(re.findall(r"`(test_\w+)`", page))

    assert len(named) > 10
    assert {name for name in named if f"def {name}(" not in tests} == set()
