"""Says which names are those of secrets; when in doubt, a name is one."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from ..conf import jobs_settings
from .definition import Task

ENDS_A_WORD = 5  # letters from which an entry also hides words that end in it: accesstoken, but not postcard
ANYWHERE = 8  # letters from which it hides whatever contains it: oldpasswordhash

_NEW_WORD = re.compile(
    r"(?<=[^\W\d_A-Z])(?=[A-Z])"  # accessToken
    r"|(?<=[A-Z])(?=[A-Z][a-z])"  # APIKey
    r"|[\W\d_]+"
)


def secrecy(task: Task | None) -> Callable[[str], bool]:
    """Return a function that says whether a name is a secret's: by the task's option, or by SENSITIVE.

    Of a task that is not known here nobody knows what it has declared, so all its arguments are taken for secrets.
    """
    if task is None:
        return lambda name: True
    declared = set(task.sensitive)
    return lambda name: name.partition("[")[0] in declared or sounds_secret(name)


def sounds_secret(name: str) -> bool:
    """Say whether a name contains an entry of SENSITIVE: as whole words, or as a part that is hardly chance."""
    return bool(_pattern(tuple(jobs_settings.SENSITIVE)).search(words_of(name)))


def words_of(name: str) -> str:
    """Return the words of a name: "access token" of ``accessToken``, ``ACCESS_TOKEN`` and ``access-token2``."""
    return _NEW_WORD.sub(" ", name).casefold().strip()


@lru_cache(maxsize=8)
def _pattern(entries: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(_of_entry(entry) for entry in entries) or r"(?!)")


def _of_entry(entry: str) -> str:
    """Return the expression for an entry: its letters in one word or several, and their plural."""
    letters = words_of(entry).replace(" ", "")
    expression = " ?".join(map(re.escape, letters))
    if len(letters) >= ANYWHERE:
        return expression
    start = "" if len(letters) >= ENDS_A_WORD else r"\b"
    return rf"{start}{expression}s?\b"
