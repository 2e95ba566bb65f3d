"""How many jobs a child takes."""

from __future__ import annotations

import pytest

from django_jobs.worker.appetite import AHEAD, Appetite


def appetite(*, threads: int = 1, lasted: float | None = None, kinds: str = "") -> Appetite:
    """Return the appetite of a child that has seen jobs of these kinds ("s" and "a") last so long."""
    one = Appetite(threads=threads, async_slots=50)
    for kind in kinds:
        one.came(is_async=kind == "a")
    if lasted is not None:
        one.lasted(lasted)
    return one


@pytest.mark.parametrize(
    ("child", "waiting", "running", "asynchronous", "wanted"),
    [
        (appetite(), 0, 0, 0, 1),  # nothing is known: one
        (appetite(threads=8), 0, 3, 0, 5),
        (appetite(), 0, 1, 0, 0),
        (appetite(), 0, 0, 3, 1),  # async bodies occupy no thread
        (appetite(), 0, 0, 50, 0),  # ... but slots
        (appetite(lasted=0.01), 0, 0, 0, 11),  # 0.1 s of work ahead
        (appetite(lasted=0.01), 0, 1, 0, 10),
        (appetite(lasted=0.01), 6, 1, 0, 0),  # enough waits
        (appetite(lasted=0.000_01), 0, 0, 0, 1 + AHEAD),
        (appetite(lasted=60), 0, 1, 0, 0),
        (appetite(kinds="a" * 10), 0, 0, 20, 30),  # most are async: as many as there are slots
        (appetite(kinds="a" * 10), 1, 1, 20, 0),  # until one waits
        (appetite(kinds="a" * 10, lasted=0.1), 0, 0, 50, 50),  # ... and 0.1 s of their work ahead
        (appetite(kinds="a" * 10, lasted=0.1), 26, 0, 50, 0),
    ],
)
def test_a_child_takes_what_can_start_soon(child, waiting, running, asynchronous, wanted):
    assert child.wanted(waiting=waiting, sync_running=running, async_running=asynchronous) == wanted


def test_a_child_that_had_to_give_back_takes_nothing_ahead():
    child = appetite(lasted=0.001)

    child.was_too_much(1.0)

    assert child.wanted(waiting=0, sync_running=1, async_running=0) == 0
