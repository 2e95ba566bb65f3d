"""Makes job ids: UUIDs of version 7, which sort by the time they were made.

Layout of RFC 9562, section 5.7, with its method 3: the twelve bits after the milliseconds hold the
fraction of the millisecond, and ids of one process never go backwards.
"""

from __future__ import annotations

import os
import threading
import time
from uuid import UUID

_lock = threading.Lock()
_last = 0


def job_id() -> UUID:
    """Return a new id, greater than every id this process has made before."""
    global _last
    with _lock:
        _last = max(_last + 1, _ticks(time.time_ns()))
        ticks = _last
    return _uuid(ticks, int.from_bytes(os.urandom(8)))


def first_id_since(moment: float) -> UUID:
    """Return an id that is not above any made since then, in seconds since 1970, by a clock that agrees with ours."""
    return _uuid(_ticks(int(moment * 1e9)), 0)


def _ticks(nanoseconds: int) -> int:
    milliseconds, rest = divmod(nanoseconds, 1_000_000)
    return milliseconds << 12 | (rest << 12) // 1_000_000


def _uuid(ticks: int, random: int) -> UUID:
    high = (ticks >> 12) << 16 | 0x7000 | ticks & 0xFFF
    low = 0x8000_0000_0000_0000 | random & 0x3FFF_FFFF_FFFF_FFFF
    return UUID(int=high << 64 | low)


def _after_fork() -> None:
    global _lock, _last
    _lock, _last = threading.Lock(), 0  # the lock may have been held by a thread that is not here


os.register_at_fork(after_in_child=_after_fork)
