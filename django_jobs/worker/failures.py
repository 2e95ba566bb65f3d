"""Turns an exception into what is stored of it: bounded, escaped, without local variables."""

from __future__ import annotations

import hashlib
import re
import threading
import traceback
from pathlib import Path

from ..codec import escaped
from ..exceptions import TaskTimeout
from ..models import Attempt
from ..models.job import LAST_ERROR_LENGTH
from ..moves import Failure

MESSAGE_LENGTH = 4_000
TRACEBACK_LENGTH = 60_000
CHAIN_LENGTH = 10  # causes of causes that are told

_OURS = str(Path(__file__).parent)
_formatting = threading.Lock()  # of two threads that load the same source at the same time one may go without it
_VARIABLE = re.compile(r"0x[0-9a-fA-F]+|[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\d+|'[^']*'|\"[^\"]*\"")


def describe(error: BaseException) -> Failure:
    """Return what is kept of an exception that a body raised; never raises itself."""
    name = class_path(type(error))
    message = text_of(error)
    lines = stack(error)
    return Failure(
        kind=Attempt.Kind.TIMED_OUT if isinstance(error, TaskTimeout) else Attempt.Kind.FAILED,
        exception_class=name[:255],
        message=message,
        fingerprint=fingerprint(name, message, lines),
        traceback=lines,
    )


def one_line(error: BaseException) -> str:
    """Return "Class: message" for lists, bounded and on one line."""
    name, message = type(error).__name__, " ".join(text_of(error).split())
    return (f"{name}: {message}" if message else name)[:LAST_ERROR_LENGTH]


def class_path(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"


def text_of(error: BaseException) -> str:
    """Return an exception's message; one whose __str__ raises gets a word about that."""
    try:
        text = str(error)
    except BaseException as broken:  # even SystemExit: it is only a message
        text = f"<its message could not be made: {type(broken).__name__}>"
    return storable(text, MESSAGE_LENGTH)


def storable(text: str, length: int) -> str:
    """Return text that every database takes: escaped where it is not plain Unicode, and cut."""
    text = escaped(text[: length + 1])
    return text if len(text) <= length else text[: length - 1] + "…"


def stack(error: BaseException) -> str:
    """Return the traceback's lines but for the last, which names the exception and is stored apart."""
    try:
        _cut_chain(error)
        _skip_own_frames(error)
        with _formatting:
            lines = list(traceback.TracebackException.from_exception(error, compact=True).format())
        last = None if isinstance(error, BaseExceptionGroup) else -1  # a group's text ends with its members
        return storable("".join(lines[:last]), TRACEBACK_LENGTH)
    except BaseException as broken:
        frames = "".join(traceback.format_tb(error.__traceback__, limit=-20))
        return storable(f"{frames}  <the rest could not be told: {type(broken).__name__}>\n", TRACEBACK_LENGTH)


def fingerprint(name: str, message: str, lines: str) -> str:
    """Return what failures of the same kind have in common: class, places, and the message's fixed words."""
    fixed = _VARIABLE.sub("…", message)
    return hashlib.sha256("\0".join((name, fixed, lines)).encode()).hexdigest()[:32]


def _cut_chain(error: BaseException) -> None:
    for _ in range(CHAIN_LENGTH):
        following = error.__cause__ or error.__context__
        if following is None:
            return
        error = following
    error.__cause__ = error.__context__ = None


def _skip_own_frames(error: BaseException) -> None:
    """Begin the traceback with the user's code: our own frames above it tell nobody anything."""
    own = error.__traceback__
    while own is not None and own.tb_frame.f_code.co_filename.startswith(_OURS):
        own = own.tb_next
    if own is not None:
        error.__traceback__ = own
