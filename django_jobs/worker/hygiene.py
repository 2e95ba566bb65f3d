"""Gives every job a clean process: what one body leaves behind, the next one does not see."""

from __future__ import annotations

import contextvars
import logging
import os
import signal
import threading
from _signal import getsignal  # bare: signal's own looks up an enum each time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.db import connections
from django.db.backends.signals import connection_created

logger = logging.getLogger("django_jobs.worker")

_folder = os.stat(".")
_path = os.getcwd()
_handlers: dict[int, Any] = {}  # of the signals that end this process in good order
_connected = threading.local()  # .here: a connection was opened in this thread and may be open still


def _note_connection(**_: Any) -> None:
    _connected.here = True


connection_created.connect(_note_connection)


def keep_handlers(*numbers: int) -> None:
    """Take the present handlers of these signals for ours: a body that sets others loses them at its end."""
    _handlers.update((number, getsignal(number)) for number in numbers)


def in_fresh_context(function: Callable[..., Any], *args: Any) -> Any:
    """Call the function in an empty context: language, time zone and other context variables start anew."""
    return fresh_context().run(function, *args)


def fresh_context() -> contextvars.Context:
    return contextvars.Context()


def clean_up() -> None:
    """Put right what a body may have left: connections, transactions, queries, signal handlers, the folder."""
    if _may_be_connected():
        _clean_connections()
    _restore_handlers()
    try:
        is_elsewhere = not os.path.samestat(os.stat("."), _folder)
    except OSError:  # a body removed the one that it was in
        is_elsewhere = True
    if is_elsewhere:
        with suppress(OSError):  # a deploy removed ours
            os.chdir(_path)


def _restore_handlers() -> None:
    if threading.current_thread() is not threading.main_thread():
        return  # nobody else may set them
    for number, handler in _handlers.items():
        if getsignal(number) != handler:
            signal.signal(number, handler)


def close_connections() -> None:
    """Close this thread's connections: nothing more is to be done for a while."""
    if not _may_be_connected():
        return
    _connected.here = False
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            _connected.here = True
        else:
            connection.close()


def _may_be_connected() -> bool:
    return getattr(_connected, "here", True)


def _clean_connections() -> None:
    for connection in connections.all(initialized_only=True):
        try:
            _clean_connection(connection)
        except Exception:
            logger.warning("a connection to %s could not be cleaned and is dropped", connection.alias, exc_info=True)
            _drop(connection)


def _clean_connection(connection: Any) -> None:
    connection.queries_log.clear()
    if connection.connection is None:
        return
    if connection.in_atomic_block or not connection.get_autocommit() or connection.execute_wrappers:
        logger.warning("a task left a transaction or a wrapper open on %s; it is rolled back", connection.alias)
        _drop(connection)
    else:
        connection.close_if_unusable_or_obsolete()


def _drop(connection: Any) -> None:
    """Forget a connection object altogether; the next use makes a new one."""
    alias, raw = connection.alias, connection.connection
    del connections[alias]
    if raw is not None:
        with suppress(Exception):
            raw.close()
