"""Waits for the end of a job: woken through Redis by the worker that records it, with a slow look besides."""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable

from asgiref.sync import sync_to_async
from django.db import connections

from . import broker
from .broker import AWAY, Broker, Waiter, Wake
from .models import Job, database

LOOK_SECONDS = 2.0  # between looks at the row while Redis would wake us
SHORTEST_POLL, LONGEST_POLL = 0.005, 0.5  # seconds between looks while nobody would


def wait(job: Job, timeout: float | None) -> Job:
    """Return the job, refreshed, once it has ended; see ``Job.wait``."""
    check_transaction(job)
    left, bell = clock(timeout), Bell(job)
    try:
        while True:
            job.refresh()
            if job.is_finished:
                bell.pass_on()
                return job
            bell.wait(still(job, left(), timeout))
    finally:
        bell.close()


async def wait_async(job: Job, timeout: float | None) -> Job:
    """Do as ``wait``, without blocking the event loop."""
    check_transaction(job)
    left, bell = clock(timeout), Bell(job)
    try:
        while True:
            await job.arefresh()
            if job.is_finished:
                await _in_thread(bell.pass_on)
                return job
            await bell.wait_async(still(job, left(), timeout))
    finally:
        bell.close()


def check_transaction(job: Job) -> None:
    """Raise RuntimeError inside the transaction that enqueued the job: no worker can see it there."""
    blocks = connections[database()].atomic_blocks
    if blocks and blocks[0] is job._enqueued_in:
        raise RuntimeError(
            f"wait() inside the transaction that enqueued job {job.id}: it starts after the commit. "
            "Leave the atomic() block first."
        )


def clock(timeout: float | None) -> Callable[[], float]:
    """Return what tells how many seconds are left."""
    end = float("inf") if timeout is None else time.monotonic() + timeout
    return lambda: end - time.monotonic()


def still(job: Job, left: float, timeout: float | None) -> float:
    """Return the seconds left, or raise TimeoutError when there are none."""
    if left > 0:
        return left
    raise TimeoutError(f"job {job.id} ({job.name}) is still {job.state} after {timeout:g} s")


class Bell:
    """Rung when a job has ended, if Redis can be reached; each wait may end early, and never late."""

    def __init__(self, job: Job):
        self._id = job.pk.hex
        self._poll = SHORTEST_POLL
        self._broker: Broker | None = None
        self._waiter: Waiter | None = None
        self._is_deaf = not broker.is_used()
        self._has_rung = False

    def wait(self, seconds: float) -> None:
        """Wait until rung, or for the next look at the row, at most so long."""
        if self._is_deaf:
            time.sleep(self._next_poll(seconds))
        elif not self._is_armed:
            self._arm()
        elif self._answers_within(min(seconds, LOOK_SECONDS)):
            self._read()

    async def wait_async(self, seconds: float) -> None:
        if self._is_deaf:
            await asyncio.sleep(self._next_poll(seconds))
        elif not self._is_armed:
            await _in_thread(self._arm)
        elif await self._answers_within_async(min(seconds, LOOK_SECONDS)):
            self._read()

    def pass_on(self) -> None:
        """Ring for the others who wait for the same job: a token wakes one of them."""
        if self._has_rung:
            self._attempt(lambda: self._broker.tell_ended([self._id]))

    def close(self) -> None:
        if self._waiter is not None:
            self._waiter.close()

    @property
    def _is_armed(self) -> bool:
        return self._waiter is not None and self._waiter.armed

    def _next_poll(self, seconds: float) -> float:
        pause, self._poll = self._poll, min(self._poll * 1.3, LONGEST_POLL)
        return min(pause, seconds)

    def _arm(self) -> None:
        """Say that we wait, and listen. Who does so looks at the row again, for it may just have ended."""
        self._attempt(self._listen)

    def _listen(self) -> None:
        if self._waiter is None:
            self._broker = broker.for_waiting()
            self._waiter = Waiter(self._broker.client, LOOK_SECONDS)
        self._broker.await_end(self._id)
        self._waiter.arm([self._broker.key("ended", self._id)])

    def _read(self) -> None:
        self._attempt(lambda: self._note(self._waiter.read()))

    def _note(self, wake: Wake) -> None:
        self._has_rung = self._has_rung or wake.key is not None

    def _answers_within(self, seconds: float) -> bool:
        poll = select.poll()  # not select(), which refuses file descriptors above 1,023
        poll.register(self._waiter, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    async def _answers_within_async(self, seconds: float) -> bool:
        loop, rung, file = asyncio.get_running_loop(), asyncio.Event(), self._waiter.fileno()
        loop.add_reader(file, rung.set)
        try:
            await asyncio.wait_for(rung.wait(), seconds)
            return True
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(file)

    def _attempt(self, act: Callable[[], object]) -> None:
        try:
            act()
        except AWAY:
            self._is_deaf, self._has_rung = True, False
            self.close()


_in_thread = sync_to_async(lambda act: act(), thread_sensitive=False)
