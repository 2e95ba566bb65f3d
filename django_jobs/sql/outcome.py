"""One outcome as it is written: plain values, all times relative to the moment of writing."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID


class Row(NamedTuple):
    """The columns that an outcome sets on a job, guarded by ``id`` and ``claim``."""

    id: UUID
    claim: int
    state: str
    reason: str
    last_error: str
    return_value: str | None  # encoded
    progress: str | None  # encoded; None leaves what is there
    failures: int  # to add
    delay: float | None  # seconds until it is due again; None leaves run_after
    started_ago: float | None  # seconds
    finished_ago: float | None  # seconds; None: not a final state
    keep: float | None  # seconds until it is pruned; None: for ever
    followed: bool  # what the worker knows of; one that others follow since is not recorded: they are settled with it
