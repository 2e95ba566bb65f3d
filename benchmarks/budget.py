"""``python -m benchmarks.budget``: where the time of a job goes, and what bare drivers need for the same.

Writes docs/explanation/speed.md and benchmarks/results/budget.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from benchmarks import floor, latency, processes, results
from benchmarks.install import ROOT, install, python_of
from benchmarks.peers import PEERS
from benchmarks.report import figure, table, warning
from benchmarks.results import FOLDER, Results
from benchmarks.stage import LOST_SECONDS, Player, Stage, Worker

PAGE = ROOT / "docs" / "explanation" / "speed.md"
RAW = FOLDER / "budget.json"
OURS = PEERS["ours"]
Microseconds = dict[str, float]


@dataclass(kw_only=True)
class Budget:
    """Microseconds a job, if nothing else is said; each the median of the runs."""

    jobs: int
    drained: dict[str, float] = field(default_factory=dict)  # processes -> jobs a second
    bare: dict[str, float] = field(default_factory=dict)
    draining: Microseconds = field(default_factory=dict)  # who -> processor time
    steps_cpu: Microseconds = field(default_factory=dict)  # step of a child -> processor time of its thread
    steps_wall: Microseconds = field(default_factory=dict)  # ... -> time that passed
    missing: list[str] = field(default_factory=list)
    enqueueing: dict[str, Microseconds] = field(default_factory=dict)  # way -> who -> processor time, and what passed
    floors: Microseconds = field(default_factory=dict)
    latency: Microseconds = field(default_factory=dict)  # step of one job on a worker at rest -> what passed
    at_rest: Microseconds = field(default_factory=dict)  # exchange by bare drivers -> what passed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.budget", description=__doc__)
    parser.add_argument("--jobs", type=int, default=20_000, help="to drain")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    install(OURS)
    found = Results.new(command="make budget", sizes=vars(options))
    with Stage() as stage:
        found.machine = results.machine(stage)
        budget = measure(stage, options.jobs, options.runs)
    FOLDER.mkdir(exist_ok=True)
    RAW.write_text(json.dumps({"budget": vars(budget), "run": asdict(found)}, indent=1) + "\n")
    PAGE.write_text(page())
    print(tables(budget))


def measure(stage: Stage, jobs: int, runs: int) -> Budget:
    """Take every figure several times, in turn."""
    taken: list[Budget] = []
    for run in range(runs):
        print(f"run {run + 1} of {runs}", flush=True)
        one = Budget(jobs=jobs, floors=floor.steps(stage))
        for count in (1, 2):
            one.bare[str(count)] = floor.loop(stage, count)
            with stage.peer(OURS) as player:
                one.drained[str(count)] = drain(player, jobs * count, count)
        with stage.peer(OURS) as player:
            drain_with_accounts(player, jobs, one)
        with stage.peer(OURS) as player:
            drain_with_clocks(player, jobs, one)
        with stage.peer(OURS) as player:
            one.enqueueing = enqueue_with_accounts(player, jobs)
        with stage.peer(OURS) as player:
            one.latency = latency.steps(player)
        one.at_rest = latency.bare(stage)
        taken.append(one)
    return median_of(taken)


# Measuring


def drain(player: Player, jobs: int, count: int) -> float:
    """Return how many jobs a second so many processes drain."""
    fill(player, jobs)
    with player.worker(count) as worker:
        return jobs / seconds_to_drain(player, worker, jobs)


def fill(player: Player, jobs: int) -> None:
    player.call("fill", work="noop", count=jobs)
    player.stage.settle(player.peer)


def seconds_to_drain(player: Player, worker: Worker, jobs: int) -> float:
    player.stamps.wait(jobs, LOST_SECONDS, worker.check)
    times = player.stamps.times[:jobs]
    return max(times) - min(times)


def drain_with_accounts(player: Player, jobs: int, budget: Budget) -> None:
    """Drain by one process and see from outside who uses processor time."""
    fill(player, jobs)
    with player.worker(1) as worker:
        pids = {"worker": worker.pids[0], **servers(player)}
        player.stamps.wait(1, LOST_SECONDS, worker.check)  # what its start costs is not a job's
        before = used_by(pids)
        passed = seconds_to_drain(player, worker, jobs)
        player.wait_recorded(jobs)
        used = used_by(pids)
    budget.draining = {name: 1e6 * (used[name] - before[name]) / jobs for name in pids}
    budget.draining["what passed"] = 1e6 * passed / jobs


def servers(player: Player) -> dict[str, int]:
    return {"Valkey": player.stage.valkey.process.pid, "PostgreSQL": player.stage.postgres.process.pid}


def used_by(pids: dict[str, int]) -> dict[str, float]:
    """Return the processor time of each and all its children, in seconds."""
    return {name: processes.cpu_seconds(processes.tree(pid)) for name, pid in pids.items()}


def drain_with_clocks(player: Player, jobs: int, budget: Budget) -> None:
    """Drain by one process with a clock around each of its steps."""
    fill(player, jobs)
    command = [str(python_of(OURS)), "-m", "benchmarks.profiled", "runworker", "--processes", "1"]
    with player.running([command]) as worker:
        seconds_to_drain(player, worker, jobs)
        player.wait_recorded(jobs)
    [path] = player.stage.folder.glob("steps-*.json")
    took = json.loads(path.read_text())
    path.unlink()
    budget.steps_cpu = {name: 1e6 * spent / jobs for name, spent in took["cpu"].items()}
    budget.steps_wall = {name: 1e6 * spent / jobs for name, spent in took["wall"].items()}
    whole = 1e6 * took["process"] / jobs
    budget.steps_cpu["everything else in the child"] = whole - sum(budget.steps_cpu.values())
    budget.missing = took["missing"]


def enqueue_with_accounts(player: Player, jobs: int) -> dict[str, Microseconds]:
    """Hand over in each way and see from outside who uses processor time."""
    few = jobs // 10
    return {
        "enqueue()": accounts(player, few, lambda: sum(player.call("one_by_one", count=few))),
        "enqueue() in atomic()": accounts(player, few, lambda: player.call("in_transaction", count=few)),
        "enqueue_many()": accounts(player, jobs, lambda: player.call("fill", work="noop", count=jobs)),
    }


def accounts(player: Player, jobs: int, act: Callable[[], float]) -> Microseconds:
    """Return what an act that lasts so many seconds costs whom for each job."""
    pids = {"client": player.client_pid, **servers(player)}
    before = used_by(pids)
    passed = act()
    used = used_by(pids)
    return {**{name: 1e6 * (used[name] - before[name]) / jobs for name in pids}, "what passed": 1e6 * passed / jobs}


def median_of(taken: list[Budget]) -> Budget:
    def median(values: list) -> object:
        match values[0]:
            case dict():
                return {key: median([value[key] for value in values if key in value]) for key in values[0]}
            case list():
                return values[0]
        return statistics.median(values)

    return Budget(**{name: median([vars(one)[name] for one in taken]) for name in vars(taken[0])})


# Writing

OPENING = """\
# Where the time goes

What one job that does nothing costs, by who spends it, beside what bare drivers need for the same steps. This page is
written by `make budget` from what it measured; nothing on it is written by hand. All figures are microseconds a job if
nothing else is said, and the median of {runs} runs.
"""


def page() -> str:
    """Return the page of the documentation, made from the raw results."""
    raw = json.loads(RAW.read_text())
    budget, found = Budget(**raw["budget"]), Results(**raw["run"])
    where = table(["", ""], [*map(list, found.machine.items()), ["measured", f"{found.began} UTC, at {found.commit}"]])
    opening = OPENING.format(runs=found.sizes["runs"]) + warning(found)
    return opening + "\n" + tables(budget) + "\n## Where it was measured\n\n" + where


def tables(budget: Budget) -> str:
    parts = [against_the_floor(budget), draining(budget), enqueueing(budget), at_rest(budget), floors(budget)]
    return "\n".join(parts)


def against_the_floor(budget: Budget) -> str:
    rows = []
    for count, rate in budget.drained.items():
        part = rate / budget.bare[count]
        rows.append([count, figure(rate), figure(budget.bare[count]), f"{100 * part:.0f} %", saved(budget, count)])
    return (
        "## Ours and the floor\n\n"
        "The floor is a loop of the same shape without Django and without us: pop 100 ids, claim them by one "
        "`UPDATE ... RETURNING`,\nrun a function, record by one `UPDATE ... FROM unnest`, with psycopg and redis-py "
        "alone, on a table with five indexes.\nIt has no retries, no timeouts, no heartbeat, and loses what it holds "
        "when it dies.\n\n"
        + table(["processes", "ours, jobs/s", "floor, jobs/s", "ours of the floor", "left to gain at most"], rows)
    )


def saved(budget: Budget, count: str) -> str:
    return f"{1e6 / budget.drained[count] - 1e6 / budget.bare[count]:.0f} microseconds a job"


def draining(budget: Budget) -> str:
    whole = [[name, figure(spent)] for name, spent in budget.draining.items()]
    order = sorted(budget.steps_cpu, key=budget.steps_cpu.get, reverse=True)
    steps = [[name, figure(budget.steps_cpu[name]), figure(budget.steps_wall.get(name))] for name in order]
    steps.append(["in all", figure(sum(budget.steps_cpu.values())), ""])
    note = "\nSteps no longer found: " + ", ".join(budget.missing) + ".\n" if budget.missing else ""
    return (
        f"## Draining, one process\n\nProcessor time while {budget.jobs:,} jobs are drained:\n\n"
        + table(["who", "microseconds a job"], whole)
        + "\nWithin the child, by clocks around its steps. What passes beyond the processor time is waiting: for the "
        "database,\nfor Valkey, or for the other thread to let go of the interpreter.\n\n"
        + table(["step", "processor time", "what passed"], steps)
        + note
    )


def enqueueing(budget: Budget) -> str:
    who = list(next(iter(budget.enqueueing.values())))
    rows = [[way, *(figure(spent[name]) for name in who)] for way, spent in budget.enqueueing.items()]
    return "## Handing over\n\n" + table(["way", *who], rows)


def at_rest(budget: Budget) -> str:
    steps = [[name, figure(spent)] for name, spent in budget.latency.items()]
    single = [[name, figure(spent)] for name, spent in budget.at_rest.items()]
    return (
        "## From enqueue() to the first line\n\n"
        f"One job at a time for a worker at rest, {1000 * latency.PAUSE:.0f} ms after the one before, the median of "
        f"{latency.JOBS}. Two commits\nare on the way, the job's and the claim's: without the first it could be lost, "
        "without the second it could be run twice.\n\n"
        + table(["step", "microseconds"], steps)
        + "\nEach answer has to wake a process that has slept. What single exchanges take at that pace, by bare "
        "drivers:\n\n" + table(["exchange", "microseconds"], single)
    )


def floors(budget: Budget) -> str:
    rows = [[name, figure(spent)] for name, spent in budget.floors.items()]
    return "## Bare drivers, step by step\n\n" + table(["step", "microseconds"], rows)


if __name__ == "__main__":
    main()
