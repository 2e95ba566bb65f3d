"""What is measured, and how: each case is one function of a peer on the stage."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from benchmarks import processes
from benchmarks.peers import Peer
from benchmarks.stage import LOST_SECONDS, Player, Worker

SLEEPS = 100  # of 10 ms that one body after the other can do in a second
ASYNC_SLOTS = 100  # bodies at a time in one process: the default of ours and taskiq


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    runs: int = 3
    seconds: float = 2.0  # that a drain should last, at the pace of the peer's warm-up
    enqueues: int = 2000
    in_transaction: int = 1000
    bulk: int = 10_000
    latencies: int = 100
    idle_seconds: float = 60.0
    waiting: tuple[int, ...] = (100, 1_000, 10_000, 100_000, 1_000_000)
    finished: tuple[int, ...] = (0, 1_000_000, 5_000_000)
    workers: tuple[int, ...] = (1, 2, 4, 8, 16)
    payloads: tuple[int, ...] = (100, 1_000, 10_000, 100_000)


QUICK = Sizes(
    runs=2,
    seconds=1.0,
    enqueues=1000,
    in_transaction=500,
    bulk=5_000,
    latencies=80,
    idle_seconds=15.0,
    waiting=(1_000, 100_000),
    finished=(0, 500_000),
    workers=(1, 4),
    payloads=(100, 100_000),
)

Values = dict[str, float]
Shape = tuple[int, int | None]  # processes, threads in each; None: as the peer likes best


@dataclass(frozen=True, kw_only=True)
class Case:
    """One line of work. ``measure`` gets the peer, the sizes and the pace of its warm-up in jobs a second."""

    quantity: str
    name: str
    measure: Callable[[Player, Sizes, float], Values]
    suits: Callable[[Peer], bool] = lambda peer: True
    most_runs: int = 100  # what takes long and decides little is measured less often
    multiple: int = 1  # of the usual runs, where a process may be quick or slow for all its life


def cases(sizes: Sizes) -> list[Case]:
    """Return everything that can be measured, in the order of the report."""
    return [
        *drains(),
        Case(quantity="enqueue", name="enqueue", measure=enqueue, multiple=3),
        Case(quantity="latency", name="latency", measure=latency),
        Case(quantity="idle", name="idle", measure=idle, suits=_is_main, most_runs=1),
        *growths(sizes),
    ]


def drains() -> list[Case]:
    case = partial(Case, quantity="drain", most_runs=2)
    return [
        case(name="no-op, 1 process", measure=partial(drain, shape=(1, None))),
        case(name="no-op, 2 processes", measure=partial(drain, shape=(2, None)), most_runs=100),
        case(name="one query, 2 processes", measure=partial(drain, work="query", shape=(2, None))),
        case(name="10 ms sleep, 2 x 8", measure=partial(drain, work="sleep", shape=(2, 8))),
        case(
            name="async 10 ms sleep, 1 process",
            measure=partial(drain, work="async_sleep", shape=(1, None)),
            suits=lambda peer: peer.runs_async,
        ),
    ]


def growths(sizes: Sizes) -> list[Case]:
    """Return how the rate grows; what needs rows without end is for ours alone."""
    case = partial(Case, quantity="growth", most_runs=1)
    ours = partial(case, suits=lambda peer: peer.name == "ours")
    both = partial(case, suits=_is_main)
    return [
        *(ours(name=f"{n:,} waiting", measure=partial(drain_of_many, waiting=n), most_runs=2) for n in sizes.waiting),
        *(ours(name=f"{n:,} finished", measure=partial(drain_beside_finished, finished=n)) for n in sizes.finished),
        *(both(name=f"{n} workers", measure=partial(drain_by_workers, workers=n)) for n in sizes.workers),
        *(both(name=f"{n:,} B of payload", measure=partial(with_payload, payload=n)) for n in sizes.payloads),
    ]


def _is_main(peer: Peer) -> bool:
    return peer.name in ("ours", "celery")


# Draining a full queue


def warm_up(player: Player) -> float:
    """Run a few jobs, then some more; return how many a second that were, which sizes what follows."""
    pace = 300.0
    for _ in range(2):
        pace = drain(player, Sizes(seconds=1), pace, shape=(2, None))["jobs/s"]
        player.reset()
    return pace


def drain(player: Player, sizes: Sizes, pace: float, *, shape: Shape, work: str = "noop") -> Values:
    """Start workers on a full queue: jobs a second, from the first body's start to the last outcome recorded.

    Where no outcomes are recorded, it ends with the last body's start.
    """
    count = _count(sizes, pace, work, shape)
    player.call("fill", work=work, count=count)
    player.stage.settle(player.peer)
    with player.worker(*shape, is_async=work == "async_sleep") as worker:
        player.stamps.wait(count, LOST_SECONDS, worker.check)
        player.wait_recorded(count)
        end = time.monotonic() if player.peer.records == "PostgreSQL" else max(player.stamps.times[:count])
    return {"jobs/s": count / (end - min(player.stamps.times[:count])), "jobs": count}


def _count(sizes: Sizes, pace: float, work: str, shape: Shape) -> int:
    """Return how many jobs make a drain of about the wanted length."""
    possible = {"sleep": shape[0] * (shape[1] or 1) * SLEEPS, "async_sleep": ASYNC_SLOTS * SLEEPS}
    rate = min(pace * shape[0] / 2, possible.get(work, pace))
    return max(100, round(rate * sizes.seconds))


# Handing over

FIRST = 50  # calls that make connections, load scripts and fill caches


def enqueue(player: Player, sizes: Sizes, pace: float) -> Values:
    """Hand jobs over with no worker running: microseconds a job."""
    durations = player.call("one_by_one", count=sizes.enqueues)[FIRST:]
    bulk = player.call("bulk", count=sizes.bulk)
    values = {
        "one by one p50": 1e6 * statistics.median(durations),
        "one by one p99": 1e6 * _percentile(durations, 99),
        "in atomic()": 1e6 * player.call("in_transaction", count=sizes.in_transaction) / sizes.in_transaction,
    }
    return values | ({"in bulk": 1e6 * bulk / sizes.bulk} if bulk else {})


# Waiting

LATENCY_SECONDS = 10.0  # those who look for work once a second are asked less often


def latency(player: Player, sizes: Sizes, pace: float) -> Values:
    """Enqueue one job at a time to a worker at rest: milliseconds to the body's first line."""
    with player.worker():
        _get_ready(player, 5)
        durations = player.call("latencies", count=sizes.latencies, seconds=LATENCY_SECONDS)
    return {"p50": 1e3 * statistics.median(durations), "p99": 1e3 * _percentile(durations, 99)}


REST_SECONDS = 20  # after which what a start, the last worker's end and a few jobs bring along is over


def idle(player: Player, sizes: Sizes, pace: float) -> Values:
    """Watch a whole small system at rest: memory in MB, processor time in percent of one core."""
    with player.everything() as worker:
        _get_ready(player, 30)
        time.sleep(REST_SECONDS)
        memory = processes.memory_mb(processes.tree(*worker.pids))
        before = _cpu(player, worker)
        began = time.monotonic()
        time.sleep(sizes.idle_seconds)
        used = _cpu(player, worker)
        seconds = time.monotonic() - began
    cpu = {f"cpu {name}": 100 * (used[name] - before[name]) / seconds for name in used}
    return {"memory": memory, **cpu, "cpu in all": sum(cpu.values())}


def _get_ready(player: Player, count: int) -> None:
    """Wait until a worker has started and has done a few jobs."""
    player.call("latencies", count=count, seconds=LOST_SECONDS)
    time.sleep(1)
    player.reset()


def _cpu(player: Player, worker: Worker) -> Values:
    stage = player.stage
    return {
        "worker": processes.cpu_seconds(processes.tree(*worker.pids)),
        "Valkey": processes.cpu_seconds(processes.tree(stage.valkey.process.pid)),
        "PostgreSQL": processes.cpu_seconds(processes.tree(stage.postgres.process.pid)),
    }


def _percentile(values: list[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# Growing

SAME = 500  # jobs, whose rate is compared: in a queue of a thousand workers then still have something to claim ahead
STARTS = 7  # of workers on the same queue
REPEATS = 3  # drains beside the same finished jobs, which take long to make
ALMOST = 0.9  # of a queue is as good as all of it


def drain_of_many(player: Player, sizes: Sizes, pace: float, *, waiting: int) -> Values:
    """Start workers on a queue: jobs a second over its first half, at most SAME, and over as many as the time allows.

    These first ones take a twentieth of a second, in which anything shows: hence the median of several starts.
    """
    count = min(waiting, round(pace * sizes.seconds))
    rates, left = [], 0
    for _ in range(STARTS):
        if left < ALMOST * waiting:
            player.reset()
            player.call("fill", work="noop", count=1)
            player.call("multiply", count=waiting - 1, finished=False)
            left = waiting
        rates.append(_first_and_all(player, count, waiting))
        left = player.call("waiting")
    first, all_of_them = (statistics.median(column) for column in zip(*rates, strict=True))
    return {"first jobs/s": first, "jobs/s": all_of_them}


def _first_and_all(player: Player, count: int, waiting: int) -> tuple[float, float]:
    """Drain ``count`` jobs of a queue; return the rate of the first of them, and of all."""
    player.stamps.clear()
    player.stage.settle(player.peer)
    with player.worker(2) as worker:
        times = player.stamps.wait_any(count, waiting, LOST_SECONDS, worker.check)
    first = times[: min(SAME, waiting // 2)]
    return len(first) / (first[-1] - first[0]), count / (times[-1] - times[0])


def drain_beside_finished(player: Player, sizes: Sizes, pace: float, *, finished: int) -> Values:
    """Start workers on a full queue in a table of finished jobs."""
    player.call("fill", work="noop", count=1)
    with player.worker():
        player.wait_recorded(1)
    player.call("multiply", count=finished, finished=True)
    return {"jobs/s": statistics.median(_rate(player, round(pace * sizes.seconds)) for _ in range(REPEATS))}


def _rate(player: Player, count: int) -> float:
    """Fill the queue, drain it by two processes, and return the jobs a second from first to last start."""
    player.stamps.clear()
    player.call("fill", work="noop", count=count)
    player.stage.settle(player.peer)
    with player.worker(2) as worker:
        player.stamps.wait(count, LOST_SECONDS, worker.check)
    times = player.stamps.times[:count]
    return count / (max(times) - min(times))


def drain_by_workers(player: Player, sizes: Sizes, pace: float, *, workers: int) -> Values:
    """Start several workers of one process each: jobs a second over the second half, when all have started."""
    count = round(pace * sizes.seconds * 2)
    player.call("fill", work="noop", count=count)
    player.stage.settle(player.peer)
    with player.worker(copies=workers) as worker:
        player.stamps.wait(count, LOST_SECONDS, worker.check)
    late = sorted(player.stamps.times[:count])[count // 2 :]
    return {"jobs/s": len(late) / (late[-1] - late[0])}


def with_payload(player: Player, sizes: Sizes, pace: float, *, payload: int) -> Values:
    """Hand over and drain jobs with a long argument."""
    count = max(2 * FIRST, min(sizes.enqueues, round(pace * sizes.seconds)))
    durations = player.call("one_by_one", count=count, payload=payload)[FIRST:]
    player.stage.settle(player.peer)
    with player.worker(2) as worker:
        player.stamps.wait(count, LOST_SECONDS, worker.check)
    times = player.stamps.times[:count]
    return {"one by one p50": 1e6 * statistics.median(durations), "jobs/s": count / (max(times) - min(times))}


def scaled(sizes: Sizes, **given: float | None) -> Sizes:
    """Return the sizes with those given replaced."""
    return replace(sizes, **{name: value for name, value in given.items() if value is not None})
