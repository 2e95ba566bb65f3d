"""When each body began: one number per job in a file that all processes have mapped.

A body writes eight bytes of memory, which needs neither a system call nor a lock and never lets go of the
interpreter, so that what is measured is the queue and not the measuring. Times are of the monotonic clock,
which all processes of a machine share.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable
from pathlib import Path

CAPACITY = 1_100_000  # jobs of one measurement


class Stamps:
    """The times of the jobs 0, 1, 2 ...; 0.0 for those that have not begun."""

    def __init__(self, path: str | Path):
        with open(path, "a+b") as file:
            file.truncate(8 * CAPACITY)
            self._map = mmap.mmap(file.fileno(), 8 * CAPACITY)
        self.times = memoryview(self._map).cast("d")

    def clear(self) -> None:
        empty = bytes(1 << 20)
        for start in range(0, len(self._map), len(empty)):
            part = self._map[start : start + len(empty)]
            if part.strip(b"\0"):
                self._map[start : start + len(part)] = empty[: len(part)]

    def wait(self, count: int, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """Return when the first ``count`` jobs have begun; call ``check`` meanwhile, which may raise."""
        deadline = time.monotonic() + seconds
        begun = 0
        while True:
            while begun < count and self.times[begun]:
                begun += 1
            if begun == count:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{begun} of {count} jobs had begun after {seconds:.0f} s")
            check()
            time.sleep(0.02)

    def wait_any(self, count: int, of: int, seconds: float, check: Callable[[], None] = lambda: None) -> list[float]:
        """Return the times of the ``count`` jobs that began first among ``of``, in their order."""
        deadline = time.monotonic() + seconds
        while True:
            begun = sorted(filter(None, self.times[:of]))
            if len(begun) >= count:
                return begun[:count]
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(begun)} of {count} jobs had begun after {seconds:.0f} s")
            check()
            time.sleep(0.2)
