"""Walks through every state that a model can reach, and says what is wrong in the first one that is."""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import NamedTuple, Protocol

STUCK = "STUCK"


class Step(NamedTuple):
    """One thing that may happen in a state, and the state after it."""

    label: str
    state: Hashable
    fault: bool


class Machine(Protocol):
    """What can be explored."""

    def start(self) -> Hashable: ...

    def steps(self, state) -> Iterator[Step]: ...

    def wrong(self, state) -> str:
        """Name what must never be and is; empty if nothing."""

    def is_good_end(self, state) -> bool: ...


class Found(NamedTuple):
    """What an exploration came to; without a kind nothing is wrong."""

    kind: str
    trace: list[str]  # the shortest way there, the last state at its end
    states: int
    labels: frozenset[str]  # of the steps that were possible somewhere

    def __str__(self) -> str:
        story = "\n  ".join(self.trace)
        return f"{self.kind or 'nothing wrong'} ({self.states:,} states)\n  {story}"


def explore(machine: Machine, most: int = 5_000_000) -> Found:
    """Look for a wrong state first, then for one from which no good end can be reached without further faults.

    Raises RuntimeError beyond ``most`` states: a bound of the model is missing.
    """
    start = machine.start()
    came_from: dict = {start: None}
    before: dict = {}  # what leads to a state without a fault
    ends: list = []
    labels: set[str] = set()
    todo = deque([start])
    while todo:
        state = todo.popleft()
        if kind := machine.wrong(state):
            return Found(kind, trace(came_from, state), len(came_from), frozenset(labels))
        if machine.is_good_end(state):
            ends.append(state)
        for label, following, fault in machine.steps(state):
            labels.add(label)
            if not fault:
                before.setdefault(following, []).append(state)
            if following not in came_from:
                came_from[following] = (state, label)
                todo.append(following)
        if len(came_from) > most:
            raise RuntimeError(f"more than {most:,} states")
    hopeful = backwards(ends, before)
    for state in came_from:  # in the order found: the first has the shortest way
        if state not in hopeful:
            return Found(STUCK, trace(came_from, state), len(came_from), frozenset(labels))
    return Found("", [], len(came_from), frozenset(labels))


def backwards(ends: list, before: dict) -> set:
    """Return all states from which one of the ends can be reached."""
    reached, todo = set(ends), deque(ends)
    while todo:
        for state in before.pop(todo.popleft(), ()):
            if state not in reached:
                reached.add(state)
                todo.append(state)
    return reached


def trace(came_from: dict, state) -> list[str]:
    """Return how a state was reached, and the state."""
    labels, last = [], state
    while came_from[state]:
        state, label = came_from[state]
        labels.append(label)
    return [*reversed(labels), str(last)]
