"""What the source of the package does not do: run, load or import what data names, or call it safe for a page."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import django_jobs

PACKAGE = Path(django_jobs.__file__).parent
SOURCES = sorted(PACKAGE.rglob("*.py"))
TEMPLATES = sorted(path for path in PACKAGE.rglob("*.html"))

# Names that are not used at all, however they are reached.
FORBIDDEN = {
    *("eval", "exec", "__import__"),
    *("pickle", "cPickle", "_pickle", "dill", "cloudpickle", "marshal", "shelve", "yaml"),
    *("mark_safe", "SafeText", "SafeData", "__html__", "html_safe", "autoescape"),
    *("system", "popen", "getoutput", "getstatusoutput"),
}
# Names that take the path of something to import, and where they may be used, for which reason.
IMPORTERS = {"import_string", "import_module", "autodiscover_modules", "module_loading", "importlib"}
ALLOWED = {
    "__init__.py": "the front door opens our own modules, by a fixed list of names",
    "backend/task.py": "unpickling: the user's own process reads its own pickle of a task; no data of ours leads here",
    "checks.py": "paths from settings",
    "conf.py": "paths from settings",
    "middleware.py": "paths from settings",
    "tasks/registry.py": "the modules of TASK_MODULES, from settings",
}
# SafeString is only named in annotations; what makes one is format_html, which escapes its arguments.
MAKES_SAFE = {"SafeString", "format_html", "format_html_join"}


def names(path: Path) -> Iterator[tuple[int, str]]:
    """Yield all names that a module uses, with their lines: variables, attributes, imports."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name):
                yield node.lineno, name
            case ast.Import(names=found) | ast.ImportFrom(names=found):
                module = getattr(node, "module", None) or ""
                for name in {*module.split("."), *(part for one in found for part in one.name.split("."))}:
                    yield node.lineno, name


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def test_nothing_is_evaluated_unpickled_or_called_safe():
    used = [f"{place(path)}:{line} {name}" for path in SOURCES for line, name in names(path) if name in FORBIDDEN]

    assert used == []


def test_only_settings_name_what_is_imported():
    users = {place(path) for path in SOURCES if any(name in IMPORTERS for _, name in names(path))}

    assert users == set(ALLOWED)


def test_what_makes_text_safe_escapes_what_it_is_given():
    found = [f"{place(path)}:{node.lineno}" for path in SOURCES for node in calls(path) if not is_constant_format(node)]

    assert found == []


def calls(path: Path) -> Iterator[ast.Call]:
    """Yield the calls of what makes a SafeString."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in MAKES_SAFE:
            yield node


def is_constant_format(call: ast.Call) -> bool:
    """Say whether the markup is written in the source, and nothing but the arguments comes from elsewhere."""
    return call.func.id != "SafeString" and all(isinstance(one, ast.Constant) for one in call.args[:1])


def test_no_template_trusts_data():
    trusting = re.compile(r"\|\s*safe|autoescape|{%\s*(?:debug|ssi)|<script(?![^>]*\bsrc=)|\son[a-z]+\s*=|javascript:")

    assert [place(path) for path in TEMPLATES if trusting.search(path.read_text())] == []
