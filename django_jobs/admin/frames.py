"""Takes the text of a traceback apart: the project's own frames from those of libraries. Plain Python."""

from __future__ import annotations

import re
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

HEADING = "Traceback (most recent call last):"
_FRAME = re.compile(r'  File "(?P<file>.*)", line \d+, in .*')
_REPEATED = re.compile(r"  \[Previous line repeated .*")
_GROUP = re.compile(r"\s*(\+-|\+ |\| )")  # an ExceptionGroup draws a tree
_LIBRARY = re.compile(r"[/\\](site|dist)-packages[/\\]|[/\\]lib(64)?[/\\]python\d|[/\\]Python\d+[/\\]Lib[/\\]|^<")
_HERE = tuple(str(Path(folder)) for folder in {sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")})
_OURS = str(Path(__file__).parent.parent)

OWN, LIBRARY, WORDS = "own", "library", "words"


@dataclass(frozen=True, kw_only=True)
class Part:
    """Lines that belong together: frames of one's own code, frames of libraries, or the words between them."""

    kind: str
    text: str
    count: int  # of frames


def parts(text: str) -> list[Part]:
    """Return a traceback's parts in their order; none, when it is not of the usual form."""
    if any(map(_GROUP.match, text.splitlines())):
        return []
    items = list(_items(text.splitlines()))
    if not any(kind != WORDS for kind, _lines in items):
        return []
    grouped = groupby(items, key=lambda item: item[0])
    return [part for kind, some in grouped if (part := _part(kind, [lines for _kind, lines in some])).text]


def own_text(text: str) -> str:
    """Return the traceback with its own frames only; all of it where there are none, or they cannot be told apart."""
    found = parts(text)
    if not any(part.kind == OWN for part in found):
        return text
    return "\n".join(part.text for part in found if part.kind != LIBRARY)


def is_own(file: str) -> bool:
    """Say whether a file is the project's own: not a library's, not Python's, and not ours."""
    return not (_LIBRARY.search(file) or file.startswith((_OURS, *_HERE)))


def _items(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield each frame with its lines of code, and every other line by itself."""
    kind, taken = "", []
    for line in lines:
        if taken and _belongs(line):
            taken.append(line)
            continue
        if taken:
            yield kind, "\n".join(taken)
            taken = []
        frame = _FRAME.fullmatch(line)
        if frame:
            kind, taken = (OWN if is_own(frame["file"]) else LIBRARY), [line]
        elif line != HEADING:
            yield WORDS, line
    if taken:
        yield kind, "\n".join(taken)


def _belongs(line: str) -> bool:
    """Say whether a line goes on with the frame before it: its code, the marks below, or that it was repeated."""
    return line.startswith("    ") or bool(_REPEATED.fullmatch(line))


def _part(kind: str, texts: list[str]) -> Part:
    text = "\n".join(texts)
    return Part(kind=kind, text=text.strip("\n") if kind == WORDS else text, count=0 if kind == WORDS else len(texts))
