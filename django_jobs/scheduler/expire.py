"""Cancels jobs that did not start before they expired."""

from __future__ import annotations

from .. import moves


def expire() -> int:
    """Cancel what is too late; return how many jobs."""
    return len(moves.expire())
