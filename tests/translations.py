"""``python -m tests.translations``: brings the catalogs in django_jobs/locale up to date with the code.

Messages that are new get an entry without a translation, those that are gone go, and each catalog is compiled. The
suite compares with what this finds (tests/test_translations.py). Done with Babel, so that no gettext tools are needed.
"""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

from babel.messages import Catalog, extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

ROOT = Path(__file__).parent.parent / "django_jobs"
KEYWORDS: dict[str, Any] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}


def messages() -> Catalog:
    """Return all messages of the code and the templates."""
    found = Catalog(charset="utf-8")
    for path in sorted(ROOT.rglob("*.py")):
        _add(found, path, path.read_bytes())
    for path in sorted(ROOT.rglob("templates/**/*.html")):
        # In one line: what Django makes of a template is not indented as Python is.
        _add(found, path, " ".join(templatize(path.read_text()).split()).encode())
    return found


def _add(catalog: Catalog, path: Path, text: bytes) -> None:
    for _line, message, _comments, context in extract.extract("python", BytesIO(text), KEYWORDS, [], {}):
        catalog.add(message, locations=[(str(path.relative_to(ROOT.parent)), 0)], context=context)


def catalogs() -> Iterator[Path]:
    yield from sorted(ROOT.glob("locale/*/LC_MESSAGES/django.po"))


def read(path: Path) -> Catalog:
    with path.open("rb") as file:
        return read_po(file, locale=path.parts[-3])


def compiled(catalog: Catalog) -> bytes:
    """Return what belongs into the .mo file beside a catalog."""
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def main() -> None:
    template = messages()
    for path in catalogs():
        catalog = read(path)
        catalog.update(template, no_fuzzy_matching=True, update_creation_date=False)
        catalog.obsolete.clear()
        catalog.last_translator, catalog.language_team = "the django_jobs contributors", catalog.locale.english_name
        catalog.msgid_bugs_address, catalog.revision_date = "", catalog.creation_date
        with path.open("wb") as file:
            write_po(file, catalog, width=120, sort_by_file=True, include_lineno=False, omit_header=False)
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        missing = sum(not all(texts(message.string)) for message in catalog if message.id)
        print(f"{path.parts[-3]}: {len(catalog)} messages, {missing} without a translation")


def texts(string: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (string or "",) if not isinstance(string, tuple) else string


if __name__ == "__main__":
    main()
