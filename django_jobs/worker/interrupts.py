"""Raises an exception inside a running body from another thread: for timeouts and cancelled jobs."""

from __future__ import annotations

import ctypes
import signal
import threading
from _signal import getsignal  # bare: signal's own looks up an enum each time

from ..exceptions import Interrupted

SIGNAL = signal.SIGUSR2  # wakes the main thread out of blocking calls; other threads notice at their next bytecode


class Interrupter:
    """Guards the bodies of one thread: an exception is raised inside the body it is meant for, or not at all.

    ``arm`` before a body, ``disarm`` after it; both in the body's thread. In between anybody may call
    ``interrupt``, and the body gets the exception once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._body: object | None = None
        self._thread = 0
        self._pending: type[Interrupted] | None = None
        self._sent = False

    def arm(self, body: object) -> None:
        self._thread, self._sent, self._pending = threading.get_ident(), False, None
        if _is_main(self._thread) and getsignal(SIGNAL) != self._on_signal:  # a body may have set its own
            signal.signal(SIGNAL, self._on_signal)
        self._body = body

    def disarm(self) -> None:
        with self._lock:
            self._body = self._pending = None
            if self._sent and not _is_main(self._thread):
                _raise_in(self._thread, None)  # take back what has not arrived

    def interrupt(self, body: object, exception: type[Interrupted]) -> bool:
        """Raise the exception in the body, if it is the one that runs; say whether it was sent."""
        with self._lock:
            if self._body is not body or self._sent:
                return False
            self._sent = True
            if _is_main(self._thread):
                self._pending = exception
                signal.pthread_kill(self._thread, SIGNAL)
            else:
                _raise_in(self._thread, exception)
            return True

    def _on_signal(self, *_: object) -> None:
        exception, self._pending = self._pending, None
        if exception is not None:
            raise exception


def _is_main(thread: int) -> bool:
    return thread == threading.main_thread().ident


def _raise_in(thread: int, exception: type[BaseException] | None) -> None:
    argument = None if exception is None else ctypes.py_object(exception)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), argument)
