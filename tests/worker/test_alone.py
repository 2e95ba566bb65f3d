"""Jobs that are to run alone: how long a child waits for its other bodies, and when it leaves them to others."""

from __future__ import annotations

from uuid import uuid4

import pytest

from django_jobs.worker import alone
from django_jobs.worker.alone import LONG_SECONDS, SHUN_SECONDS, SHUNNED_SECONDS, Alone


class Clock:
    now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(alone, "time", clock)
    return clock


def test_they_come_in_their_order(clock):
    jobs, ids = Alone(), [uuid4(), uuid4()]
    assert not jobs
    jobs.keep(ids)

    assert [jobs.next(), jobs.next()] == ids
    assert not jobs


def test_a_short_body_is_waited_for_and_a_long_one_is_not(clock):
    jobs = Alone()
    jobs.keep([uuid4()])

    jobs.leave_if_blocked([clock.now - LONG_SECONDS / 2])
    assert (bool(jobs), jobs.is_shunned) == (True, False)

    jobs.leave_if_blocked([clock.now, clock.now - LONG_SECONDS - 0.1])
    assert (bool(jobs), jobs.is_shunned) == (False, True)
    clock.now += SHUN_SECONDS
    assert not jobs.is_shunned


def test_what_was_left_to_others_for_long_is_waited_for_longer(clock):
    jobs = Alone()
    jobs.keep([uuid4()])
    jobs.leave_if_blocked([clock.now - 2 * LONG_SECONDS])
    clock.now += SHUNNED_SECONDS + 1
    jobs.keep([uuid4()])

    jobs.leave_if_blocked([clock.now - SHUNNED_SECONDS / 2])
    assert jobs
    jobs.leave_if_blocked([clock.now - SHUNNED_SECONDS - 1])
    assert not jobs

    jobs.keep([uuid4()])
    jobs.next()  # one has run: the patience is over
    jobs.keep([uuid4()])
    jobs.leave_if_blocked([clock.now - 2 * LONG_SECONDS])
    assert not jobs
