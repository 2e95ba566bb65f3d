"""A child: the process whose threads run bodies, with an engine that feeds them."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

from .. import signals
from . import hygiene
from .engine import Engine
from .executor import Work, execute, execute_async, task_factory
from .interrupts import Interrupter
from .options import Options
from .report import Reporter
from .slots import Area, Table

logger = logging.getLogger("django_jobs.worker")


class Child:
    """Runs bodies in ``threads`` threads, the main one if it is a single one, and async ones on a loop."""

    def __init__(self, *, options: Options, number: int, area: Area, table: Table, reporter: Reporter):
        self._options = options
        self._number = number
        self._async_bodies: AsyncBodies | None = None
        self.engine = Engine(
            options=options,
            number=number,
            area=area,
            table=table,
            reporter=reporter,
            wake_async=self._wake_async,
        )
        self._engine_thread = threading.Thread(target=self._run_engine, name="django_jobs engine")
        self._bodies = [
            threading.Thread(target=self._run_bodies, name=f"django_jobs body {n}", daemon=True)
            for n in range(options.threads if options.threads > 1 else 0)
        ]

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        before = signal.set_wakeup_fd(self.engine.ear, warn_on_full_buffer=False)
        signals.worker_started.send_robust(Child, child=self._number)
        self._engine_thread.start()
        for thread in self._bodies:
            thread.start()
        if not self._bodies:
            self._run_bodies()
        self._engine_thread.join()
        signals.worker_stopped.send_robust(Child, child=self._number)
        signal.set_wakeup_fd(before)
        return self.engine.end.value

    def _run_engine(self) -> None:
        try:
            self.engine.run()
        except BaseException:
            sys.excepthook(*sys.exc_info())
            sys.stderr.flush()
            os._exit(1)  # without its engine a child is nothing; the supervisor starts another
        for _ in range(max(1, len(self._bodies))):
            self.engine.inbox.put(None)

    def _run_bodies(self) -> None:
        """Run one sync body after the other, until the engine has ended."""
        interrupter = Interrupter()
        inbox = self.engine.inbox
        while (work := inbox.get()) is not None:
            if not self.engine.may_start(work):
                self.engine.returned(work)
                continue
            self.engine.finished(work, execute(work, interrupter))
            if inbox.empty():
                hygiene.close_connections()

    def _wake_async(self) -> None:
        if self._async_bodies is None:
            self._async_bodies = AsyncBodies(self.engine, slots=self._options.async_slots)
        self._async_bodies.wake()


class AsyncBodies:
    """Runs async bodies on an event loop in a thread of its own, ``slots`` of them at a time."""

    def __init__(self, engine: Engine, *, slots: int):
        self._engine = engine
        self._free_slots = slots
        self._loop = asyncio.new_event_loop()
        self._loop.set_task_factory(task_factory)
        threading.Thread(target=self._run, name="django_jobs loop", daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                self._loop.run_forever()
            except BaseException:  # SystemExit of a task that a body has started comes out here
                logger.warning("a task of an async body ended the loop; it goes on", exc_info=True)

    def wake(self) -> None:
        self._loop.call_soon_threadsafe(self._fill_slots)

    def _fill_slots(self) -> None:
        inbox = self._engine.async_inbox
        while self._free_slots:
            try:
                work = inbox.popleft()
            except IndexError:  # the engine may take some back
                return
            if self._engine.may_start(work):
                self._free_slots -= 1
                work.coroutine = self._loop.create_task(self._run_one(work), context=hygiene.fresh_context())
            else:
                self._engine.returned(work)

    async def _run_one(self, work: Work) -> None:
        try:
            self._engine.finished(work, await execute_async(work))
        finally:
            self._free_slots += 1
            self._fill_slots()


def stop_on_sigterm(stop: Callable[[], None]) -> None:
    """Make this process stop in good order on SIGTERM, and leave Ctrl+C to the supervisor."""
    signal.signal(signal.SIGTERM, lambda *_: stop())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    hygiene.keep_handlers(signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
