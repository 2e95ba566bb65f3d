"""A table in shared memory of what each child holds, which outlives the child and so tells what its death cost."""

from __future__ import annotations

import mmap
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple
from uuid import UUID

from ..models import Worker

FREE, CLAIMED, STARTED, FINISHED, SUCCEEDED = range(5)  # stages of an entry
WORKING, LEAVING, ENDED = range(3)  # phases of a child

_ENTRY = struct.Struct("=16sqddBB6x")  # id, claim, started, hard deadline, stage, cancelled
_HEADER = struct.Struct("=ddqqqqqqqq")  # see Header
_STAGE_OFFSET = 40
_CANCEL_OFFSET = 41
NEVER = float("inf")


class Entry(NamedTuple):
    """A job that a child holds. Times are of the monotonic clock, which all processes share."""

    index: int
    id: UUID
    claim: int
    started: float
    deadline: float  # when the child is killed for it
    stage: int
    cancelled: bool


class Header(NamedTuple):
    """What a child says of itself: its number, its engine's last turn, and what became of its jobs."""

    turned: float = 0.0  # monotonic; 0: not ready yet
    without_redis: float = 0.0  # since when the rows are asked instead; monotonic, 0: they are not
    child: int = 0  # 0: nobody's
    phase: int = 0  # WORKING, LEAVING or ENDED
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    released: int = 0
    lost: int = 0

    @property
    def counts(self) -> tuple[int, ...]:
        return self[4:]

    def __add__(self, other: Header) -> Header:  # of counts
        return Header(0.0, 0.0, 0, 0, *(a + b for a, b in zip(self.counts, other.counts, strict=True)))


class Area:
    """One child's part of the table; only the child writes entries, but for the sign that a job is cancelled."""

    def __init__(self, memory: mmap.mmap, offset: int, capacity: int):
        self._memory = memory
        self._offset = offset
        self.capacity = capacity

    @staticmethod
    def size(capacity: int) -> int:
        return _HEADER.size + capacity * _ENTRY.size

    def clear(self) -> None:
        self._memory[self._offset : self._offset + self.size(self.capacity)] = bytes(self.size(self.capacity))

    def header(self) -> Header:
        return Header(*_HEADER.unpack_from(self._memory, self._offset))

    def set_header(self, header: Header) -> None:
        _HEADER.pack_into(self._memory, self._offset, *header)

    def claim(self, index: int, id: UUID, claim: int) -> None:
        _ENTRY.pack_into(self._memory, self._at(index), id.bytes, claim, 0.0, NEVER, CLAIMED, 0)

    def start(self, index: int, deadline: float = NEVER) -> float:
        """Mark a job as started, before its body's first line; return the moment."""
        started = time.monotonic()
        struct.pack_into("=dd", self._memory, self._at(index) + 24, started, deadline)
        self._memory[self._at(index) + _STAGE_OFFSET] = STARTED
        return started

    def finish(self, index: int, *, succeeded: bool = False) -> None:
        """Mark a body's end; until its outcome is recorded the entry stays.

        ``succeeded``: that it did, and no more, is the whole outcome.
        """
        self._memory[self._at(index) + _STAGE_OFFSET] = SUCCEEDED if succeeded else FINISHED

    def free(self, index: int) -> None:
        self._memory[self._at(index) + _STAGE_OFFSET] = FREE

    def cancel(self, index: int, id: UUID, claim: int) -> None:
        """Say that a job is to be stopped, if the entry is still its own."""
        held_id, held_claim, *_ = _ENTRY.unpack_from(self._memory, self._at(index))
        if (held_id, held_claim) == (id.bytes, claim):
            self._memory[self._at(index) + _CANCEL_OFFSET] = 1

    def is_cancelled(self, index: int) -> bool:
        return bool(self._memory[self._at(index) + _CANCEL_OFFSET])

    def entries(self) -> Iterator[Entry]:
        """Yield what is held now."""
        stages = self._stages()
        if not any(stages):  # as it mostly is; to look at each takes much longer
            return
        for index, stage in enumerate(stages):
            if stage != FREE:
                id, *rest, stage, cancelled = _ENTRY.unpack_from(self._memory, self._at(index))
                yield Entry(index, UUID(bytes=id), *rest, stage, bool(cancelled))

    def is_empty(self) -> bool:
        return not any(self._stages())

    def _stages(self) -> bytes:
        return self._memory[self._at(0) + _STAGE_OFFSET : self._at(self.capacity) : _ENTRY.size]

    def _at(self, index: int) -> int:
        return self._offset + _HEADER.size + index * _ENTRY.size


class Table:
    """The shared memory of one worker: until when it counts as alive, how often it was taken for dead meanwhile,
    what people want of it, and an area for each child.
    """

    _ALIVE = struct.Struct("=d")
    _LAPSE = struct.Struct("=q")
    _TURNED = struct.Struct("=d")
    _WISH = struct.Struct("=q")
    _WISH_AT = _ALIVE.size + _LAPSE.size + _TURNED.size
    _START = _WISH_AT + _WISH.size

    def __init__(self, areas: int, capacity: int):
        step = Area.size(capacity)
        self._memory = mmap.mmap(-1, self._START + areas * step)
        self.areas = [Area(self._memory, self._START + i * step, capacity) for i in range(areas)]

    def lapse(self) -> int:
        """Return how often the others took this worker for dead; what was claimed before must not be started."""
        return self._LAPSE.unpack_from(self._memory, self._ALIVE.size)[0]

    def note_lapse(self) -> None:
        self._LAPSE.pack_into(self._memory, self._ALIVE.size, self.lapse() + 1)

    def clerk_turned(self) -> float:
        """Return when the clerk last went its round; monotonic, 0: not yet."""
        return self._TURNED.unpack_from(self._memory, self._ALIVE.size + self._LAPSE.size)[0]

    def note_clerk_turned(self, moment: float) -> None:
        self._TURNED.pack_into(self._memory, self._ALIVE.size + self._LAPSE.size, moment)

    def wish(self) -> str:
        """Return what people want of this worker: a Worker.Wish."""
        return Worker.Wish.values[self._WISH.unpack_from(self._memory, self._WISH_AT)[0]]

    def set_wish(self, wish: str) -> None:
        self._WISH.pack_into(self._memory, self._WISH_AT, Worker.Wish.values.index(wish))

    def set_alive_until(self, moment: float) -> None:
        self._ALIVE.pack_into(self._memory, 0, moment)

    def is_alive(self) -> bool:
        """Say whether the others still take this worker for alive: only then may a body be started."""
        (until,) = self._ALIVE.unpack_from(self._memory, 0)
        return time.monotonic() < until
