"""Queues scheduled and retrying jobs whose time has come."""

from __future__ import annotations

from .. import enqueue, moves

BATCHES = 10  # in one go, so that the other chores have their turn


def promote() -> int:
    """Queue and push what is due; return how many jobs."""
    promoted = 0
    for _ in range(BATCHES):
        moved = moves.promote()
        enqueue.dispatch(moved)
        promoted += len(moved)
        if len(moved) < moves.CHUNK:
            break
    return promoted
