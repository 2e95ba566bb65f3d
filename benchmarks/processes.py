"""What processes cost: memory and processor time of whole trees, read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psutil

TICKS = os.sysconf("SC_CLK_TCK")


def tree(*roots: int) -> list[int]:
    """Return the processes and all that descend from them."""
    found = []
    for root in roots:
        try:
            process = psutil.Process(root)
            found += [root, *(child.pid for child in process.children(recursive=True))]
        except psutil.NoSuchProcess:
            continue
    return found


def memory_mb(pids: Iterable[int]) -> float:
    """Return the proportional set size in MB: pages that several processes share count once."""
    return sum(_pss_kb(pid) for pid in pids) / 1024


def cpu_seconds(pids: Iterable[int]) -> float:
    """Return the processor time used so far, with that of children that have ended."""
    return sum(_ticks(pid) for pid in pids) / TICKS


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _ticks(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    fields = stat.rpartition(") ")[2].split()  # after the name, which may hold anything
    user, system, children_user, children_system = map(int, fields[11:15])
    return user + system + children_user + children_system
