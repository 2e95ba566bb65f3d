"""Counts lengths of time in buckets, few enough to be kept by the minute, so that percentiles can be read."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping

# Seconds: a bucket holds what lasted longer than the bound before its own, and not longer than its own.
BOUNDS = (
    *(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 120.0, 300.0, 600.0, 1800.0),
    *(3600.0, 7200.0, 21600.0, 86400.0, 604800.0),
)


def bucket(seconds: float) -> int:
    """Return the number of the bucket that a length belongs to; the last one has no upper bound."""
    return bisect_left(BOUNDS, seconds)


def percentile(counts: Mapping[int, int], share: float) -> float | None:
    """Return the seconds that ``share`` of all lengths did not exceed, or None where there are none.

    It lies within the right bucket, as if that one's lengths were spread evenly.
    """
    wanted = sum(counts.values()) * share
    passed = 0
    for number in sorted(number for number, count in counts.items() if count > 0):
        if passed + counts[number] >= wanted:
            low, high = _edges(number)
            return low + (high - low) * (wanted - passed) / counts[number]
        passed += counts[number]
    return None


def _edges(number: int) -> tuple[float, float]:
    return (BOUNDS[number - 1] if number else 0.0), BOUNDS[min(number, len(BOUNDS) - 1)]
