"""What may be typed into the search box of the jobs: qualifiers such as ``task:``, ids, and words of tasks' names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from uuid import UUID

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import states
from ..models.job import STATE_LABELS
from ..selection import Selection
from ..tasks import registry

HELP = _('Words of a task’s name, an id, or task:charge_card, queue:mail, state:failed, error:"timed out"')
MOST_TERMS = 20
_TERM = re.compile(r'(?P<name>[^\s":#]+):(?:"(?P<quoted>[^"]*)"?|(?P<plain>\S*))|"(?P<words>[^"]*)"?|(?P<word>\S+)')


class NotUnderstood(Exception):
    """What was typed is not a search; the message says what would be one."""


def parsed(text: str) -> Selection:
    """Return the jobs that somebody looks for; raise NotUnderstood."""
    found = Selection()
    for term in _terms(text):
        found &= term
    return found


def _terms(text: str) -> Iterator[Selection]:
    for place, match in enumerate(_TERM.finditer(text)):
        if place == MOST_TERMS:
            raise NotUnderstood(gettext("Look for %(most)s things at most.") % {"most": MOST_TERMS})
        if match["name"] is None:
            yield _bare(match["words"] if match["word"] is None else match["word"])
        else:
            yield _qualified(match["name"], match["plain"] if match["quoted"] is None else match["quoted"])


def _bare(word: str) -> Selection:
    """Return the job of an id, or those of tasks with that word in their names."""
    if word.startswith("#"):
        return _by_id(word[1:])
    try:
        return Selection(ids=(UUID(word),))
    except ValueError:
        return _by_task(word)


def _qualified(name: str, value: str) -> Selection:
    choose = _QUALIFIERS.get(name.lower())
    if choose is None:
        known = ", ".join(f"{one}:" for one in _QUALIFIERS)
        text = gettext("“%(name)s:” is not known here. Write %(known)s or #id, and quote a text that holds a colon.")
        raise NotUnderstood(text % {"name": name[:40], "known": known})
    if not value.strip():
        text = gettext("Write what to look for right after “%(name)s:”, in quotes if it holds a space.")
        raise NotUnderstood(text % {"name": name})
    return choose(value)


def _by_task(word: str) -> Selection:
    """Return the jobs of the tasks that are called so or contain the word, known here or not."""
    if not word.strip():
        return Selection()
    known = [path for path in registry.all_tasks() if word.lower() in path.lower()]
    return Selection(tasks=(tuple(dict.fromkeys([word, *known])),))


def _by_queue(name: str) -> Selection:
    return Selection(queues=(name,))


def _by_error(text: str) -> Selection:
    return Selection(errors=(" ".join(text.split()),))


def _by_state(word: str) -> Selection:
    """Return the jobs in a state, by our word for it or by that of the user's language."""
    names = {str(label).lower(): state for state, label in STATE_LABELS} | {state: state for state in states.STATES}
    state = names.get(word.lower())
    if state is None:
        text = gettext("“%(word)s” is no state. The states are %(states)s.")
        shown = ", ".join(str(label) for _state, label in STATE_LABELS)
        raise NotUnderstood(text % {"word": word[:40], "states": shown})
    return Selection(states=(state,))


def _by_id(text: str) -> Selection:
    try:
        return Selection(ids=(UUID(text),))
    except ValueError:
        raise NotUnderstood(gettext("“%(text)s” is not a job’s id.") % {"text": text[:40]}) from None


_QUALIFIERS: dict[str, Callable[[str], Selection]] = {
    "task": _by_task,
    "queue": _by_queue,
    "state": _by_state,
    "error": _by_error,
}
