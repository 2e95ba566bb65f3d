"""The engine of a child: takes ids, claims jobs, hands them to bodies, records what comes back.

It runs in a thread of its own, so that outcomes are recorded and timeouts kept while bodies run. It is the
only thread that touches the claims of its child, hence nothing here needs a lock.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any
from uuid import UUID

from django.db import Error as DatabaseAway
from django.db import connections

from .. import backlog, enqueue, failpoints, moves, states
from ..conf import jobs_settings, seconds
from ..exceptions import JobCancelled, JobsError, TaskNotFound, TaskTimeout
from ..models import Job, database
from ..moves import Held, Outcome
from ..patience import Patience
from ..tasks import TaskContext, registry
from .alone import Alone
from .appetite import AHEAD, Appetite
from .executor import Work
from .failures import one_line
from .memory import memory_mb
from .options import Options
from .readers import readable
from .recorder import BATCH, Recorder
from .report import Reporter
from .slots import ENDED, LEAVING, WORKING, Area, Header, Table
from .source import Source
from .tally import Tally

logger = logging.getLogger("django_jobs.worker")

TICK = 0.25  # seconds between looks at deadlines while bodies run
LOOK_SECONDS = 1.0  # between looks at what people want of this worker, while it takes nothing
WATCH_SECONDS = 0.05  # between such looks while the engine turns quickly
DRAG_SECONDS = 1.0  # a body that runs so long keeps nothing waiting behind it
WARY_SECONDS = 60.0  # after an error of the database, in which what was sent before it may still take effect
CHECK_SECONDS = 10.0  # between comparisons of what the database says we run with what we hold
PROGRESS_SECONDS = 1.0
GIVE_WAY_SECONDS = 0.001  # at most, to the body of a lone job: what this thread has to do next can wait
LONGEST_POSTPONEMENT = 30.0  # seconds
STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class End(Enum):
    """Why a child ended; the value is its exit code."""

    DONE = 0  # told to stop, or a burst with nothing left
    RECYCLE = 10  # has had its share of jobs or memory; another takes its place


class Engine:
    """Moves jobs between the database, Redis and the bodies of one child."""

    def __init__(
        self,
        *,
        options: Options,
        number: int,
        area: Area,
        table: Table,
        reporter: Reporter,
        wake_async: Callable[[], None],
    ):
        self.inbox: SimpleQueue[Work | None] = SimpleQueue()  # for sync bodies
        self.async_inbox: deque[Work] = deque()
        self.end: End | None = None
        self._options = options
        self._number = number
        self._area = area
        self._table = table
        self._reporter = reporter
        self._wake_async = wake_async  # tells the loop that async jobs have come
        self._source = Source(options.taker(number), options.queues)
        self._recorder = Recorder()
        self._tally = Tally()
        self._outbox: deque[Work] = deque()
        self._returned: deque[Work] = deque()  # claimed, and then not to be started
        self._held: dict[UUID, Work] = {}
        self._free = list(range(area.capacity))
        self._alone = Alone()
        self._appetite = Appetite(threads=options.threads, async_slots=options.async_slots)
        self._finished = 0
        self._patience = Patience()  # with the database
        self._progress_at = self._check_at = time.monotonic()
        self._must_check = False
        self._wary_until = 0.0
        self._lapse = table.lapse()
        self._claimed = 0.0  # when the last claim was answered; monotonic
        self._header = Header(child=number)
        self._is_asleep = False
        self._enough = 1  # outcomes that are worth to be woken for
        self._watched_at = 0.0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    # What other threads call

    @property
    def ear(self) -> int:
        """The file descriptor for ``signal.set_wakeup_fd``, by which the engine hears of signals to stop at once.

        Python's handlers run in the main thread, which may be kept for long, and sleeps on if another was interrupted.
        """
        return self._wake_write

    def poke(self) -> None:
        """Wake the engine; also from a signal handler."""
        with suppress(BlockingIOError):  # it has been poked often enough
            os.write(self._wake_write, b"!")

    def stop(self, end: End = End.DONE) -> None:
        """Take nothing more, give back what has not started, end when the running bodies have ended."""
        self.end = self.end or end
        self.poke()

    def may_start(self, work: Work | None = None) -> bool:
        """Say whether a body may be started: the others take this worker for alive, and did so since the claim."""
        return self._table.is_alive() and (work is None or work.lapse == self._table.lapse())

    def finished(self, work: Work, outcome: Outcome) -> None:
        work.outcome = outcome
        self._outbox.append(work)
        if self._is_asleep and self._is_worth_waking():
            self._is_asleep = False  # others need not wake it as well
            self.poke()

    def returned(self, work: Work) -> None:
        """Take back a job that a body did not start."""
        self._returned.append(work)
        self.poke()

    # The loop

    def run(self) -> None:
        """Turn until told to stop and nothing is held any more."""
        while not (self.end and not self._held and not self._recorder):
            try:
                self._turn()
                self._patience.succeeded()
            except DatabaseAway as error:
                self._database_failed(error)
            self._note_turn()
        self._tally.flush()
        self._source.leave()
        connections.close_all()
        self._area.set_header(self._header._replace(phase=ENDED))

    def _note_turn(self) -> None:
        self._header = self._header._replace(
            turned=time.monotonic(),
            phase=LEAVING if self.end else WORKING,
            without_redis=self._source.away_since,
        )
        self._area.set_header(self._header)

    def _turn(self) -> None:
        self._collect()
        self._watch_bodies()
        self._record()
        if self._must_check or (self._is_wary() and time.monotonic() >= self._check_at + CHECK_SECONDS):
            self._give_back_unknown()
        self._give_back_unstarted()
        self._tally.flush_if_due()
        self._note_told()
        if not self._fetch():
            self._wait()

    def _is_wary(self) -> bool:
        """Say whether the database may believe that we run what we do not: an idle child need not ask."""
        return bool(self._held) or time.monotonic() < self._wary_until

    def _be_wary(self) -> None:
        self._wary_until = time.monotonic() + WARY_SECONDS

    def _collect(self) -> None:
        while self._outbox:
            work = self._outbox.popleft()
            self._recorder.add(work)
            self._appetite.lasted(work.outcome.finished - work.outcome.started)

    def _record(self) -> None:
        if not self._recorder or self._recorder.wait(self._company_expected()):
            return
        self._source.forget()  # before a retry could be pushed again
        failpoints.hit("before_record")
        done = self._recorder.flush()
        failpoints.hit("after_record")
        self._source.ended([work.job.id for work, _ in done if work.outcome.transition.target in states.FINAL])
        for work, counted in done:
            self._let_go(work)
            if counted:
                self._count(work.outcome.transition)
                self._tally.count(work.outcome, work.claimed)
                self._finished += 1
        self._reporter.finished([(work.job, work.outcome) for work, counted in done if counted])
        self._recycle_if_due()

    def _company_expected(self) -> bool:
        return len(self._held) > len(self._recorder)

    # Giving back

    def _give_back_unstarted(self) -> None:
        if self.end or not self.may_start() or self._is_dragging():
            self._returned.extend(self._take_inbox())
        if self._returned:
            works = [self._returned.popleft() for _ in range(len(self._returned))]
            try:
                self._release(works)
            except DatabaseAway:
                self._returned.extend(works)
                raise

    def _is_dragging(self) -> bool:
        """Say whether what waits has waited for long: all places are taken, and for a while already."""
        if self.inbox.empty() and not self.async_inbox:
            return False
        is_async, places = (True, self._options.async_slots) if self.async_inbox else (False, self._options.threads)
        running = [work.started for work in self._running() if work.task.is_async == is_async]
        return len(running) >= places and time.monotonic() - max(running) > DRAG_SECONDS

    def _take_inbox(self) -> list[Work]:
        works = []
        with suppress(IndexError):
            while True:
                works.append(self.async_inbox.popleft())
        with suppress(Empty):
            while True:
                works.append(self.inbox.get_nowait())
        return works

    def _release(self, works: list[Work]) -> None:
        self._source.forget()
        released = moves.piecewise(moves.release, [Held(work.job.id, work.job.claim) for work in works])
        place = {work.job.id: index for index, work in enumerate(works)}
        enqueue.dispatch(sorted(released, key=lambda one: place[one.id]), first=True)
        for work in works:
            self._let_go(work)
        if len(released) < len(works):
            self._be_wary()  # a row was locked or refused: a check finds it again
        self._header = self._header._replace(released=self._header.released + len(works))
        self._appetite.was_too_much(DRAG_SECONDS)

    def _give_back_unknown(self) -> None:
        """Give back what the database says we run and we do not hold: a claim whose reply was lost."""
        self._source.forget()
        asked = time.monotonic()
        claimed = moves.held_by(self._options.id, self._number)
        took = time.monotonic() - asked  # longer among dead rows that somebody's old snapshot keeps
        unknown = [one for one in claimed if one.id not in self._held or self._held[one.id].job.claim != one.claim]
        if unknown:
            logger.warning("%d jobs are claimed for us that we do not hold; they are given back", len(unknown))
            enqueue.dispatch(moves.piecewise(moves.release, unknown))
            self._be_wary()
        self._must_check, self._check_at = False, time.monotonic() + 100 * took

    def _let_go(self, work: Work) -> None:
        if self._held.get(work.job.id) is work:
            del self._held[work.job.id]
            self._area.free(work.index)
            self._free.append(work.index)
        if not self._held:
            self._alone.is_running = False

    # Watching

    def _watch_bodies(self) -> None:
        now = time.monotonic()
        if now < self._watched_at + WATCH_SECONDS:
            return
        self._watched_at = now
        for work in self._held.values():
            if not work.started or work.outcome:
                continue
            if now >= work.soft_deadline:
                work.interrupt(TaskTimeout)
            elif self._area.is_cancelled(work.index):
                work.interrupt(JobCancelled)

    def _note_told(self) -> None:
        if time.monotonic() < self._progress_at + PROGRESS_SECONDS:
            return
        self._progress_at = time.monotonic()
        for work in self._held.values():
            if work.started and not work.outcome:
                self._note_told_by(work)

    def _note_told_by(self, work: Work) -> None:
        progress, log = work.context.take_progress(), work.context.take_log()
        if progress is None and log is None:
            return
        written = False
        try:
            written = moves.note_told(Held(work.job.id, work.job.claim), progress, log)
        finally:
            if log and not written:
                work.context.put_back(log)

    def _count(self, transition: states.Transition) -> None:
        names = {states.SUCCEED: "succeeded", states.FAIL: "failed", states.RETRY: "retried"}
        name = names.get(transition, "cancelled")
        self._header = self._header._replace(**{name: getattr(self._header, name) + 1})

    def _recycle_if_due(self) -> None:
        options = self._options
        if options.max_jobs and self._finished >= options.max_jobs:
            self._recycle(f"{self._finished} jobs done")
        elif options.max_memory and (memory := memory_mb()) > options.max_memory:
            self._recycle(f"{memory:.0f} MB used")

    def _recycle(self, why: str) -> None:
        if self.end is None:
            number = self._number
            self._reporter.say("recycled", f"child {number} ends: {why}; another takes its place", child=number)
            self.stop(End.RECYCLE)

    # Fetching

    def _fetch(self) -> bool:
        """Take and claim what can start soon; say whether there was anything."""
        if self._alone and not self._held and self._takes_work():
            return self._claim_alone()
        if self._alone and not self._alone.is_running:
            self._alone.leave_if_blocked(work.started for work in self._held.values() if work.started)
        wanted = self._wanted()
        if not wanted:
            return False
        was_at_rest = not self._held
        ids = self._source.take(wanted, with_blamed=not self._alone.is_shunned)
        failpoints.hit("after_take")
        jobs = self._claim(ids) if ids else []
        self._start(jobs)
        if was_at_rest and jobs and len(ids) < wanted:
            self._sleep([self._wake_read], GIVE_WAY_SECONDS)  # else the body would wait for the interpreter
        if not ids and self._options.burst and not self._held and not self._alone:
            self._end_burst()
        return bool(jobs or self._alone)

    def _takes_work(self) -> bool:
        return not self.end and not self._table.wish() and self.may_start() and self._left_of_max_jobs() > 0

    def _wanted(self) -> int:
        """Return how many jobs to take now."""
        if self._alone.is_running or self._alone or not self._takes_work():
            return 0
        running = self._running()
        sync_running = sum(not work.task.is_async for work in running)
        wanted = self._appetite.wanted(
            waiting=self.inbox.qsize() + len(self.async_inbox),
            sync_running=sync_running,
            async_running=len(running) - sync_running,
        )
        return max(0, min(wanted, len(self._free), self._left_of_max_jobs()))

    def _running(self) -> list[Work]:
        return [work for work in self._held.values() if work.started and not work.outcome]

    def _left_of_max_jobs(self) -> int:
        limit = self._options.max_jobs
        return limit - self._finished - len(self._held) if limit else AHEAD * 2

    def _claim(self, ids: list[UUID], *, alone: bool = False) -> list[Job]:
        self._must_check = True  # until the reply is here
        self._lapse = self._table.lapse()
        jobs = moves.claim(ids, worker=self._options.id, slot=self._number, alone=alone)
        self._must_check, self._claimed = False, time.monotonic()
        failpoints.hit("after_claim")
        if len(jobs) < len(ids) and not alone:
            self._source.forget()  # whoever may claim the others later must be able to push them
            if not self._alone.is_shunned:
                self._alone.keep(backlog.lost_before(sorted({*ids} - {job.id for job in jobs})))
        return jobs

    def _claim_alone(self) -> bool:
        jobs = self._claim([self._alone.next()], alone=True)
        self._alone.is_running = bool(jobs)
        self._start(jobs)
        return bool(jobs)

    def _start(self, jobs: list[Job]) -> None:
        """Hand jobs to the bodies; give back those that this worker cannot run."""
        works = [self._hold(job) for job in jobs]
        for work, error in works:
            if error is None:
                self._hand_over(work)
        if self.async_inbox:
            self._wake_async()
        unfit = deque((work, error) for work, error in works if error is not None)
        try:
            while unfit:
                self._postpone(*unfit[0])
                unfit.popleft()
        except DatabaseAway:
            self._returned.extend(work for work, _ in unfit)
            raise

    def _hand_over(self, work: Work) -> None:
        self._appetite.came(is_async=work.task.is_async)
        if work.task.is_async:
            self.async_inbox.append(work)
        else:
            self.inbox.put(work)

    def _hold(self, job: Job) -> tuple[Work, Exception | None]:
        """Enter a job in the table; say what keeps this worker from running it, if anything does."""
        index = self._free.pop()
        self._area.claim(index, job.id, job.claim)
        context = TaskContext(job, is_cancelled=lambda: self._area.is_cancelled(index))
        work = Work(job=job, task=None, context=context, area=self._area, index=index)
        work.lapse, work.claimed = self._lapse, self._claimed
        self._held[job.id] = work
        try:
            work.task = registry.get(job.task_path)
            work.context = work.task.with_context(context)
            work.task.check(job.args, job.kwargs)
        except (JobsError, TypeError, ValueError) as error:
            return work, error
        return work, None

    def _postpone(self, work: Work, error: Exception) -> None:
        """Give back a job whose task, or whose arguments, this worker does not understand: a deploy is going on."""
        job = work.job
        pause = min(LONGEST_POSTPONEMENT, 2.0 ** min(job.interruptions, 10))
        reason = str(error) if isinstance(error, TaskNotFound) else f"does not fit here: {error}"
        if pause * job.interruptions > seconds(jobs_settings.UNKNOWN_TASK_AFTER):
            work.started = time.monotonic()
            work.outcome = Outcome(
                transition=states.FAIL,
                job=job,
                started=work.started,
                finished=work.started,
                reason=reason[:200],
                last_error=one_line(error),
                keep=jobs_settings.retention[states.FAILED],
            )
            self._recorder.add(work)
            return
        postpone = partial(moves.postpone, seconds=pause, reason=reason)
        if moves.piecewise(postpone, [Held(job.id, job.claim)]):
            self._reporter.postponed(job, reason, pause)
        else:
            self._be_wary()
        self._let_go(work)

    def _end_burst(self) -> None:
        if not backlog.is_work_due(self._options.queues):
            self.stop()
        else:
            time.sleep(0.02)  # the clerk brings it, or another child has it

    # Waiting

    def _wait(self) -> None:
        """Sleep until a body ends, work comes, or something is due."""
        wanted = self._wanted()
        if wanted:
            self._source.arm()
            if self._may_be_handed_ids():
                self._source.take_when_woken(wanted)
        readers = [self._wake_read]
        if self._source.waiter is not None and self._source.waiter.armed:
            readers.append(self._source.waiter)
        if self._source.waiter in self._sleep(readers, self._wait_seconds(wanted)):
            self._source.woken(useful=bool(self._wanted()))

    def _may_be_handed_ids(self) -> bool:
        """Say whether Redis may hand us ids while nobody reads them: not if we were not missed soon."""
        if self._held or self._options.burst:
            return False
        return connections[database()].vendor != "sqlite"  # where an idle worker beats seldom

    def _sleep(self, readers: list[Any], seconds: float) -> list[Any]:
        """Wait until one of the readers can be read; what comes into the outbox wakes us."""
        self._enough = BATCH // 2 if self._recorder else 1  # what is there waits for company, and no longer
        self._is_asleep = True  # before the last look at the outbox, lest something comes between
        if self._returned or (self._outbox and self._is_worth_waking()):
            seconds = 0.0
        ready = readable(readers, seconds)
        self._is_asleep = False
        if self._wake_read in ready:
            self._listen()
        return ready

    def _listen(self) -> None:
        """Read why we were woken: a poke, which says nothing more, or the number of a signal."""
        if not STOP_SIGNALS.isdisjoint(os.read(self._wake_read, 4096)):
            self.stop()

    def _is_worth_waking(self) -> bool:
        """Say whether enough outcomes have come, or the bodies have nothing more to do."""
        return len(self._outbox) >= self._enough or (self.inbox.empty() and not self.async_inbox)

    def _wait_seconds(self, wanted: int) -> float:
        pauses = [self._source.wait_seconds() if wanted else LOOK_SECONDS]
        if self._recorder:
            pauses.append(self._recorder.wait(self._company_expected()))
        if self._held:
            pauses.append(TICK)
        if self._options.burst or not self.may_start():
            pauses.append(0.05)
        return min(pauses)

    def _database_failed(self, error: BaseException) -> None:
        """Keep everything, close the connection, and try again after a growing pause."""
        if not self._patience:
            logger.warning("the database does not answer (%s); outcomes are kept", one_line(error))
        connections[database()].close()
        self._must_check = True
        self._be_wary()
        if readable([self._wake_read], self._patience.failed()):
            self._listen()
