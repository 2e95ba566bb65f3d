"""How much memory processes take."""

from __future__ import annotations

import os
from pathlib import Path


def memory_mb() -> float:
    """Return this process's resident memory in MB."""
    try:
        with open("/proc/self/statm") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
    except OSError:
        import resource  # here: only where there is no /proc

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def worker_mb(pid: int) -> float:
    """Return the memory of a worker in MB: of the process and its children, what they share counted once."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return sum(_share_kb(one) for one in [pid, *children]) / 1024
    except OSError:  # no /proc, or a process that has just ended
        return memory_mb()


def _share_kb(pid: int | str) -> int:
    """Return a process's proportional share of the pages that it has mapped."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)
