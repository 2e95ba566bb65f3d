"""The seven states of a job and the table of named transitions between them."""

from __future__ import annotations

from dataclasses import dataclass

SCHEDULED = "scheduled"
QUEUED = "queued"
RUNNING = "running"
RETRYING = "retrying"
SUCCEEDED = "succeeded"
FAILED = "failed"
CANCELLED = "cancelled"

STATES = (SCHEDULED, QUEUED, RUNNING, RETRYING, SUCCEEDED, FAILED, CANCELLED)
WAITING = (SCHEDULED, QUEUED, RETRYING)
FINAL = (SUCCEEDED, FAILED, CANCELLED)

# What Django's Tasks framework calls them.
STATUSES = {
    SCHEDULED: "READY",
    QUEUED: "READY",
    RETRYING: "READY",
    RUNNING: "RUNNING",
    SUCCEEDED: "SUCCESSFUL",
    FAILED: "FAILED",
    CANCELLED: "FAILED",
}


@dataclass(frozen=True, kw_only=True)
class Transition:
    """A move that a job may make: from one of ``sources`` to ``target``."""

    name: str
    sources: tuple[str, ...]
    target: str
    fenced: bool = False  # only the holder of the current claim may make it
    why: str = ""


# An outcome is also accepted from queued while the claim is still the worker's own: a rescue was early
# and nobody has claimed since, so what was done need not be done again.
HELD = (RUNNING, QUEUED)

PROMOTE = Transition(name="promote", sources=(SCHEDULED, RETRYING), target=QUEUED, why="its time has come")
CLAIM = Transition(name="claim", sources=(QUEUED,), target=RUNNING, why="a worker takes it")
SUCCEED = Transition(name="succeed", sources=HELD, target=SUCCEEDED, fenced=True, why="the body returned")
RETRY = Transition(name="retry", sources=HELD, target=RETRYING, fenced=True, why="the body failed, attempts are left")
FAIL = Transition(name="fail", sources=HELD, target=FAILED, fenced=True, why="the body failed for good")
STOP = Transition(name="stop", sources=HELD, target=CANCELLED, fenced=True, why="cancelled while running")
DISCARD = Transition(name="discard", sources=HELD, target=CANCELLED, fenced=True, why="the body raised Discard")
RELEASE = Transition(name="release", sources=(RUNNING,), target=QUEUED, fenced=True, why="given back")
POSTPONE = Transition(
    name="postpone",
    sources=(RUNNING,),
    target=SCHEDULED,
    fenced=True,
    why="this worker cannot run it; later, maybe",
)
LOSE = Transition(name="lose", sources=(RUNNING,), target=QUEUED, fenced=True, why="its worker died")
BURY = Transition(name="bury", sources=(RUNNING,), target=FAILED, fenced=True, why="its worker died once too often")
CANCEL = Transition(name="cancel", sources=WAITING, target=CANCELLED, why="somebody cancelled it")
EXPIRE = Transition(name="expire", sources=WAITING, target=CANCELLED, why="not started before it expired")
REQUEUE = Transition(name="requeue", sources=FINAL, target=QUEUED, why="somebody asked for a retry")

TRANSITIONS = (
    PROMOTE, CLAIM, SUCCEED, RETRY, FAIL, STOP, DISCARD, RELEASE, POSTPONE, LOSE, BURY, CANCEL, EXPIRE, REQUEUE,
)  # fmt: skip
