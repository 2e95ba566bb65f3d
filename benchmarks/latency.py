"""Where the time goes between ``enqueue()`` and the first line of the body, on a worker at rest.

Beside it what bare drivers need for the same exchanges at the same pace: processes that have slept wake up slowly.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from uuid import uuid4

from benchmarks import floor
from benchmarks.install import python_of
from benchmarks.stage import LOST_SECONDS, Player, Stage

JOBS = 150
WARM_UP = 10  # of these
PAUSE = 0.03  # seconds between jobs
WITHIN = 0.1  # seconds after a job was handed over, in which its steps are looked for

Moments = list[tuple[str, float, float]]  # what, when it began and ended; monotonic
Microseconds = dict[str, float]


def steps(player: Player) -> Microseconds:
    """Return what passes at each step of a job, the median of many, and in all."""
    command = [str(python_of(player.peer)), "-m", "benchmarks.profiled", "runworker", "--processes", "1"]
    with player.running([command]) as worker:
        player.call("latencies", count=1, seconds=LOST_SECONDS)
        player.stamps.clear()
        sent = player.call("moments", count=JOBS, pause=PAUSE)
        player.stamps.wait(JOBS, LOST_SECONDS, worker.check)
    [path] = player.stage.folder.glob("steps-*.json")
    in_worker = sorted(json.loads(path.read_text())["moments"], key=lambda one: one[1])
    path.unlink()
    found = [of_one(began, ours + in_worker, player.stamps.times[n]) for n, (began, ours) in enumerate(sent)]
    whole = [one for one in found[WARM_UP:] if one]
    return {name: 1e6 * statistics.median(one[name] for one in whole) for name in whole[0]}


def of_one(began: float, moments: Moments, first_line: float) -> Microseconds | None:
    """Return the seconds of each step of one job; None if one of them is not found, as when a look found it first."""
    first: dict[str, tuple[float, float]] = {}
    for what, start, end in moments:
        if began <= start < began + WITHIN:
            first.setdefault(what, (start, end))
    try:
        insert, push, wake = first["insert"], first["push"], first["wake up"]
        take, claim, body = first["take ids from Redis"], first["claim rows"], first["run the body, in a clean context"]
    except KeyError:
        return None
    return {
        "check the call, make the row": insert[0] - began,
        "INSERT and COMMIT": insert[1] - insert[0],
        "send the id to Redis, which wakes the worker": wake[0] - insert[1],
        "read the id, which comes along": take[1] - wake[0],
        "claim: UPDATE and COMMIT": claim[1] - take[1],
        "find the task, hand it to the thread of bodies": body[0] - claim[1],
        "begin: word in shared memory, a clean context": first_line - body[0],
        "in all": first_line - began,
        "enqueue() returns after": push[1] - began,
    }


def bare(stage: Stage) -> Microseconds:
    """Return what single exchanges with the servers take at rest, by bare drivers."""
    relayed = floor.relay(stage, JOBS // 2, PAUSE)
    with floor.connected(stage) as connection, stage.valkey.client() as client:
        text = json.dumps(floor.ARGUMENTS)
        return {
            "Redis round trip": _at_rest(client.ping),
            "SELECT 1": _at_rest(lambda: connection.execute("SELECT 1").fetchone()),
            "INSERT and COMMIT of one row": _at_rest(lambda: connection.execute(floor.INSERT, [uuid4(), text])),
            "the whole way: INSERT, push, wake, claim, hand to a thread": 1e6 * statistics.median(relayed),
        }


def _at_rest(act: Callable[[], object]) -> float:
    taken = []
    for _ in range(JOBS // 2):
        time.sleep(PAUSE)
        began = time.perf_counter()
        act()
        taken.append(time.perf_counter() - began)
    return 1e6 * statistics.median(taken)
