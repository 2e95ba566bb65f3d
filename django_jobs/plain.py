"""Text from data as it may stand in a line of a log or on a terminal."""

from __future__ import annotations

from functools import lru_cache

LENGTH = 500  # characters


@lru_cache(maxsize=256)  # mostly names of tasks
def plain(text: str) -> str:
    """Return the text on one line, escaped and bounded."""
    shown = escaped(text[: LENGTH + 1])
    return shown if len(shown) <= LENGTH else f"{shown[: LENGTH - 1]}…"


def escaped(text: str) -> str:
    """Return the text with control characters, line ends, halves of pairs and changes of direction escaped."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def lines(text: str) -> str:
    """Return lines of text, escaped, and indented from the second on, so that none passes for one of ours."""
    return "\n    ".join(escaped(line) for line in text.split("\n"))
