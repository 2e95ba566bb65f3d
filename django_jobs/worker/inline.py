"""A whole worker in one process, for small hosts: the clerk is a thread, and nothing is forked.

Hard timeouts are not available here: a body that does not heed TaskTimeout goes on.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from . import hygiene
from .child import Child
from .clerk import Clerk, Death, Duties
from .options import Options
from .report import Reporter, say_ready, say_totals
from .slots import Header, Table

NUMBER = 1  # of the only child
AREA = 0


class Inline:
    """Runs bodies in this process, fed by an engine thread and watched by a clerk thread."""

    def __init__(self, *, options: Options, reporter: Reporter, make_duties: Callable[[], Duties]):
        self._options = options
        self._reporter = reporter
        self._table = Table(areas=1, capacity=options.capacity)
        self._table.areas[AREA].set_header(Header(child=NUMBER))
        self._child = Child(
            options=options, number=NUMBER, area=self._table.areas[AREA], table=self._table, reporter=reporter
        )
        self._clerk = Clerk(
            options=options, table=self._table, duties=make_duties(), reporter=reporter, pid=os.getpid()
        )
        self._stopping = threading.Event()
        self.reload = False

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        before = {number: signal.signal(number, self._on_stop_signal) for number in (signal.SIGTERM, signal.SIGINT)}
        hygiene.keep_handlers(*before)
        started = time.monotonic()
        clerk = threading.Thread(target=self._run_clerk, name="django_jobs clerk")
        clerk.start()
        say_ready(self._reporter, time.monotonic() - started)
        self._child.run()
        self._clerk.stop()
        clerk.join()
        for number, handler in before.items():
            signal.signal(number, handler)
        totals = self._table.areas[AREA].header()
        say_totals(self._reporter, totals)
        return 1 if self._options.burst and totals.failed else 0

    def _run_clerk(self) -> None:
        """Be the clerk; a worker that has lost it, or finds itself idle beside work, ends with code 3."""
        try:
            self._clerk.run()
            if not self._clerk.found_idleness:
                return
            self._reporter.say("gave_up", "gave up: jobs are due, and for 90 s none of them was started")
        except BaseException:
            sys.excepthook(*sys.exc_info())
        self._end_now(code=3)

    def _on_stop_signal(self, *_: object) -> None:
        if self._stopping.is_set():
            threading.Thread(target=self._end_now).start()
            return
        self._stopping.set()
        self._child.engine.stop()
        timer = threading.Timer(self._options.grace, self._end_now)
        timer.daemon = True
        timer.start()

    def _end_now(self, code: int = 0) -> None:
        """Give back what still runs, and end without waiting for it."""
        try:
            self._clerk.settle(Death(child=NUMBER, area=AREA, cause="stopped", ordered=True, overdue=[]))
            self._clerk.say_goodbye()
        finally:
            os._exit(code)
