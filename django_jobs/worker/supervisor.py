"""The supervisor: forks, reaps and signals. It knows pids and the table, not tasks, and holds no connection."""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from django.db import connections

from ..patience import Patience
from .child import Child, stop_on_sigterm
from .clerk import SETTLED, Clerk, Death, Duties, die_with_parent
from .engine import STOP_SIGNALS, End
from .options import Options
from .readers import readable
from .report import Reporter, duration, say_ready, say_totals
from .slots import ENDED, FINISHED, LEAVING, STARTED, SUCCEEDED, Area, Header, Table

logger = logging.getLogger("django_jobs.worker")

TICK = 0.25  # seconds; while jobs are held, or something is to be done after a pause
QUICK_TICK = 0.02  # until the first child is ready
IDLE_TICK = 2.0
READY_SECONDS = 2.0  # a child that lives so long was started in earnest
MOST_STILLBORN = 5  # children in a row that died before they had run anything: then we give up
SETTLE_SECONDS = 5.0  # for what killed children held to be given back, at a stop
STUCK_SECONDS = 60.0  # an engine that does not turn for so long while no body runs is dead
GAVE_UP = 3  # exit code
STOPPED = "stopped with its worker"  # a cause


@dataclass(kw_only=True)
class Running:
    """A forked child, and what we know of it."""

    number: int
    pid: int
    area: int  # index in the table
    born: float  # monotonic
    ordered: bool = False  # we have killed it
    overdue: tuple[int, ...] = ()  # the entries for which we did
    cause: str = ""


class Supervisor:
    """Keeps one clerk and the children alive until told to stop."""

    def __init__(self, *, options: Options, reporter: Reporter, make_duties: Callable[[], Duties], changed=None):
        self._options = options
        self._reporter = reporter
        self._make_duties = make_duties
        self._changed = changed  # says whether the code has changed, when we reload
        self._table = Table(areas=2 * options.processes + 2, capacity=options.capacity)
        self._children: dict[int, Running] = {}  # by pid
        self._unsettled: dict[int, Death] = {}  # by child's number; the clerk has not answered yet
        self._totals = Header()
        self._numbers = 0
        self._clerk_pid = 0
        self._clerk_born = self._next_clerk = 0.0
        self._clerk_patience = Patience()  # with those that die young
        self._clerk: socket.socket | None = None
        self._signals = 0  # to stop
        self._kill_at: float | None = None  # when bodies have had their time; monotonic
        self._stillborn = 0
        self._birth_patience = Patience()  # with children that die young
        self._is_burst_over = False
        self._idle_beside_work = False
        self._next_birth = 0.0
        self._wake_read, self._wake_write = os.pipe()
        self._started = time.monotonic()
        self._said_ready = False
        self.reload = False  # end because the code has changed

    def run(self) -> int:
        """Work until told to stop; return the exit code."""
        self._catch_signals()
        connections.close_all()  # a connection must not be shared across a fork
        gc.collect()
        gc.freeze()  # what is here stays here: children need not copy it
        while self._should_go_on():
            self._keep_clerk()
            self._keep_children()
            self._wait()
            self._reap()
            self._watch()
            self._say_ready()
        self._end_clerk()
        self._say_totals()
        return self._exit_code()

    def _say_ready(self) -> None:
        if self._said_ready or not any(self._area(child).header().turned for child in self._children.values()):
            return
        self._said_ready = True
        say_ready(self._reporter, time.monotonic() - self._started)

    def _say_totals(self) -> None:
        say_totals(self._reporter, self.totals())

    def totals(self) -> Header:
        """Return what became of all jobs of this worker so far."""
        return sum((self._area(child).header() for child in self._children.values()), self._totals)

    # Signals

    def _catch_signals(self) -> None:
        for number in STOP_SIGNALS:
            signal.signal(number, self._on_stop_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # only to wake us
        os.set_blocking(self._wake_write, False)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)

    def _on_stop_signal(self, *_: object) -> None:
        self._signals += 1

    def stop(self, grace: float) -> None:
        """Let running bodies end within the grace; what still runs then goes back to its queue."""
        self._kill_at = time.monotonic() + grace
        for child in self._children.values():
            _kill(child.pid, signal.SIGTERM)
        running = sum(
            entry.stage == STARTED for child in self._children.values() for entry in self._area(child).entries()
        )
        waits = f"; waiting up to {duration(grace)} for {running} running job{'s' * (running != 1)}" if running else ""
        self._reporter.say("stopping", f"stopping{waits}. Again: at once.", running=running, grace=grace)

    # The loop

    def _should_go_on(self) -> bool:
        late = self._kill_at is not None and (self._signals > 1 or time.monotonic() > self._kill_at + SETTLE_SECONDS)
        unsettled = self._unsettled and not late  # the database may be away; then others free what is left
        return bool(self._children or unsettled or (self._wants_children() and not self._gives_up()))

    def _wants_children(self) -> bool:
        return self._kill_at is None and not self._is_burst_over

    def _gives_up(self) -> bool:
        return self._stillborn >= MOST_STILLBORN

    def _keep_children(self) -> None:
        if not self._wants_children() or self._gives_up() or time.monotonic() < self._next_birth:
            return
        staying = sum(self._area(child).header().phase != LEAVING for child in self._children.values())
        for _ in range(min(self._options.processes - staying, len(self._free_areas()))):
            self._fork_child()

    def _free_areas(self) -> list[int]:
        used = {child.area for child in self._children.values()} | {death.area for death in self._unsettled.values()}
        return [index for index in range(len(self._table.areas)) if index not in used]

    def _wait(self) -> None:
        readers = [self._wake_read, *([self._clerk] if self._clerk else [])]
        ready = readable(readers, self._tick())
        if self._wake_read in ready:
            os.read(self._wake_read, 4096)
        if self._clerk in ready:
            self._hear_clerk()

    def _tick(self) -> float:
        """Return the seconds until the next look; signals, dead children and what the clerk says wake us."""
        if not self._said_ready:
            return QUICK_TICK
        areas = (self._area(child) for child in self._children.values())
        is_whole = self._clerk_pid and len(self._children) == self._options.processes
        is_idle = is_whole and self._kill_at is None and all(area.is_empty() for area in areas)
        return IDLE_TICK if is_idle else TICK

    def _watch(self) -> None:
        if self._signals and self._kill_at is None:
            self.stop(self._options.grace)
        if self._kill_at is not None and (self._signals > 1 or time.monotonic() >= self._kill_at):
            self._kill_all(STOPPED)
        if self._changed and self._kill_at is None and self._changed():
            self.reload = True
            self.stop(self._options.grace)
        for child in list(self._children.values()):
            self._watch_child(child)
        turned = self._table.clerk_turned()
        if self._clerk_pid and turned and time.monotonic() - turned > STUCK_SECONDS:
            self._table.note_clerk_turned(0.0)
            _kill(self._clerk_pid, signal.SIGKILL)  # it is stuck; another takes its place

    def _watch_child(self, child: Running) -> None:
        """Kill a child whose body ran too long, or whose engine has stopped turning."""
        now = time.monotonic()
        entries = list(self._area(child).entries())
        overdue = tuple(entry.index for entry in entries if entry.stage == STARTED and now > entry.deadline)
        if overdue:
            self._kill_child(child, "a job ran beyond its hard timeout", overdue)
            return
        turned = self._area(child).header().turned
        busy = any(
            entry.stage in (STARTED, FINISHED, SUCCEEDED) for entry in entries
        )  # a body, or outcomes the database waits for
        if turned and now - turned > STUCK_SECONDS and not busy:
            self._kill_child(child, f"its engine has not turned for {STUCK_SECONDS:g} s")

    def _kill_all(self, cause: str) -> None:
        for child in self._children.values():
            self._kill_child(child, cause)

    def _kill_child(self, child: Running, cause: str, overdue: tuple[int, ...] = ()) -> None:
        if not child.ordered:
            child.ordered, child.cause, child.overdue = True, cause, overdue
            _kill(child.pid, signal.SIGKILL)

    # Children

    def _fork_child(self) -> None:
        self._numbers += 1
        number, area = self._numbers, self._free_areas()[0]
        self._table.areas[area].clear()
        self._table.areas[area].set_header(Header(child=number))
        pid = _fork(lambda: self._be_child(number, area))
        self._children[pid] = Running(number=number, pid=pid, area=area, born=time.monotonic())

    def _be_child(self, number: int, area: int) -> int:
        child = Child(
            options=self._options,
            number=number,
            area=self._table.areas[area],
            table=self._table,
            reporter=self._reporter,
        )
        stop_on_sigterm(child.engine.stop)
        return child.run()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid == self._clerk_pid:
                self._clerk_died(status)
            elif child := self._children.pop(pid, None):
                self._child_died(child, os.waitstatus_to_exitcode(status))

    def _child_died(self, child: Running, code: int) -> None:
        header = self._area(child).header()
        self._totals += header
        if self._signals and code == -signal.SIGTERM:  # its body has set a handler of its own
            child.ordered, child.cause = True, STOPPED
        orderly = header.phase == ENDED  # a body may call os._exit(0)
        if orderly and code == End.DONE.value:
            self._is_burst_over = self._options.burst
        elif not orderly or code != End.RECYCLE.value:
            self._report_death(child, code, fruitless=not any(header.counts))
        self._tell_clerk(child, child.cause or f"its process died: {ending(code)}")

    def _report_death(self, child: Running, code: int, *, fruitless: bool) -> None:
        self._is_burst_over = False  # what it held is due again
        started = sum(entry.stage == STARTED for entry in self._area(child).entries())
        lost = int(started == 1 and not child.ordered)  # of several nobody knows which of them it was
        then = "; another takes its place" if self._wants_children() else ""
        released = started - lost - len(child.overdue)
        self._totals = self._totals._replace(lost=self._totals.lost + lost, released=self._totals.released + released)
        self._reporter.say(
            "child_died",
            f"! child {child.number} (pid {child.pid}) ended: {child.cause or ending(code)}{then}",
            child=child.number,
            lost=lost,
        )
        self._next_birth = time.monotonic()
        if fruitless and not started and not child.ordered:
            self._stillborn += 1
        else:
            self._stillborn = 0
            self._birth_patience.succeeded()
        if not child.ordered and time.monotonic() < child.born + READY_SECONDS:
            self._next_birth += self._birth_patience.failed()

    def _area(self, child: Running) -> Area:
        return self._table.areas[child.area]

    # The clerk

    def _keep_clerk(self) -> None:
        if not self._clerk_pid and time.monotonic() >= self._next_clerk:
            self._fork_clerk()

    def _fork_clerk(self) -> None:
        ours, theirs = socket.socketpair()
        pid = _fork(lambda: self._be_clerk(ours, theirs))
        theirs.close()
        self._clerk, self._clerk_pid, self._clerk_born = ours, pid, time.monotonic()
        for death in self._unsettled.values():
            ours.send(death.encode())

    def _be_clerk(self, ours: socket.socket, supervisor: socket.socket) -> int:
        ours.close()
        clerk = Clerk(
            options=self._options,
            table=self._table,
            duties=self._make_duties(),
            reporter=self._reporter,
            pid=os.getppid(),
        )
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)  # it beats until the last body has ended, and ends with us
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        clerk.run(supervisor)
        return GAVE_UP if clerk.found_idleness else 0

    def _tell_clerk(self, child: Running, cause: str) -> None:
        death = Death(
            child=child.number,
            area=child.area,
            cause=cause,
            ordered=child.ordered,
            overdue=list(child.overdue),
        )
        self._unsettled[child.number] = death
        if self._clerk:
            try:
                self._clerk.send(death.encode())
            except OSError:
                logger.debug("the clerk has died; the next one is told")

    def _hear_clerk(self) -> None:
        try:
            data = self._clerk.recv(65536)
        except ConnectionError:  # it died with something of ours unread
            data = b""
        for line in data.splitlines():
            settled = json.loads(line)
            if death := self._unsettled.pop(settled["child"], None):
                self._table.areas[death.area].clear()
            counts = {name: getattr(self._totals, name) + settled[name] for name in SETTLED}
            self._totals = self._totals._replace(**counts)
        if not data:
            self._clerk.close()
            self._clerk = None

    def _clerk_died(self, status: int) -> None:
        if self._clerk:
            self._clerk.close()
        code = os.waitstatus_to_exitcode(status)
        if code == GAVE_UP:
            self._idle_beside_work = True
            self.stop(self._options.grace)
        else:
            logger.warning("the clerk died: %s; another takes its place", ending(code))
        self._clerk, self._clerk_pid = None, 0
        self._next_clerk = time.monotonic()
        if self._next_clerk < self._clerk_born + READY_SECONDS:
            self._next_clerk += self._clerk_patience.failed()
        else:
            self._clerk_patience.succeeded()

    def _end_clerk(self) -> None:
        """Let the clerk say good-bye to the database."""
        if self._clerk:
            self._clerk.close()
        if not self._clerk_pid:
            return
        end = time.monotonic() + 5.0
        while time.monotonic() < end:
            pid, _ = os.waitpid(self._clerk_pid, os.WNOHANG)
            if pid:
                return
            time.sleep(0.01)
        _kill(self._clerk_pid, signal.SIGKILL)

    def _exit_code(self) -> int:
        if self._gives_up():
            self._reporter.say("gave_up", f"gave up: {MOST_STILLBORN} children in a row died without a job")
            return GAVE_UP
        if self._idle_beside_work:
            self._reporter.say("gave_up", "gave up: jobs are due, and for 90 s none of them was started")
            return GAVE_UP
        totals = self.totals()
        return 1 if self._options.burst and totals.failed + totals.lost else 0


def ending(code: int) -> str:
    """Return a process's end in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"signal {-code}"


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):  # it was quicker
        os.kill(pid, number)


def _fork(body: Callable[[], int]) -> int:
    """Run ``body`` in a new process, which ends with what it returns; return the pid.

    Signals to stop wait until the new process has set its own handlers for them.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    pid = os.fork()
    if pid == 0:
        _be_forked(parent, body)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    return pid


def _be_forked(parent: int, body: Callable[[], int]) -> None:
    """Be a forked process: never return into the supervisor's code."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        die_with_parent(parent)
        code = body()
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)
