"""A job as a text that one pastes into a bug report, secrets hidden."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from typing import Any

import django
from django.utils.translation import gettext

from .. import __version__
from ..models import Job
from ..tasks.calls import call_text, named_arguments
from . import frames, words
from .job_story import Story, Try

VALUE_LENGTH = 500  # characters of one argument
MOST_ARGUMENTS = 50
TRACEBACK_LENGTH = 12_000


def bug_report(job: Job, story: Story) -> str:
    """Return what somebody needs to know who is to find the mistake."""
    blocks = [
        [call_text(job), _state(job)],
        list(_facts(job)),
        [gettext("Arguments"), *_arguments(job)],
        [gettext("Attempts that did not succeed"), *map(_attempt, story.tries)] if story.tries else [],
        _traceback(story.last) if story.last and story.last.text else [],
    ]
    return "\n\n".join("\n".join(map(str, block)) for block in blocks if block) + "\n"


def _state(job: Job) -> str:
    return ". ".join(filter(None, (str(job.get_state_display()).capitalize(), job.last_error, job.reason)))


def _facts(job: Job) -> Iterator[str]:
    versions = f"Python {platform.python_version()}, Django {django.get_version()}, django_jobs {__version__}"
    yield _fact(gettext("Task"), job.task_path)
    yield _fact(gettext("Job"), job.pk)
    yield _fact(gettext("Queue"), job.queue_name)
    yield _fact(gettext("Enqueued"), words.exact(job.enqueued_at))
    yield _fact(gettext("Attempts"), f"{job.attempt} / {'∞' if job.max_attempts is None else job.max_attempts}")
    yield _fact(gettext("Versions"), versions)


def _fact(label: str, value: Any) -> str:
    return f"{label + ':':<10} {value}"


def _arguments(job: Job) -> Iterator[str]:
    arguments = named_arguments(job)
    for name, value in arguments[:MOST_ARGUMENTS]:
        yield f"  {name} = {value if len(value) <= VALUE_LENGTH else value[:VALUE_LENGTH] + '…'}"
    if not arguments:
        yield f"  {gettext('none')}"
    if len(arguments) > MOST_ARGUMENTS:
        yield f"  … {len(arguments) - MOST_ARGUMENTS}"


def _attempt(one: Try) -> str:
    attempt = one.attempt
    length = words.took(attempt.finished_at - attempt.started_at) if attempt.started_at else words.NOTHING
    error = " ".join(one.error.split())[:VALUE_LENGTH]
    row = f"  {attempt.number:>2}  {words.exact(attempt.finished_at)}  {length:>7}  {attempt.get_kind_display()}"
    return "  ".join(filter(None, (row, one.where, error, one.call)))


def _traceback(one: Try) -> list[str]:
    """Return the traceback with the project's own frames; all of it where they cannot be told apart."""
    text = frames.own_text(one.text).rstrip()
    is_cut = len(text) > TRACEBACK_LENGTH
    heading = gettext("Traceback, without frames of libraries") if one.has_own else gettext("Traceback")
    return [heading, f"…{text[-TRACEBACK_LENGTH:]}" if is_cut else text, one.error if _is_unnamed(one) else ""]


def _is_unnamed(one: Try) -> bool:
    """Say whether the text ends before the exception's name, as all but those of groups do."""
    return bool(one.parts) or one.attempt.exception_class not in one.text
