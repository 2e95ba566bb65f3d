"""Writes docs/benchmarks.md from results: every figure in it was measured.

``python -m benchmarks.report`` writes it again from ``benchmarks/results/full.json``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmarks.bars import BARS
from benchmarks.install import ROOT
from benchmarks.results import FOLDER, Results

PAGE = ROOT / "docs" / "benchmarks.md"
MICROSECONDS = "microseconds a job"
VALUES = {  # case -> what it measures, in which unit, and whether more is better
    "enqueue": [
        ("one by one p50", MICROSECONDS, False),
        ("one by one p99", MICROSECONDS, False),
        ("in atomic()", MICROSECONDS, False),
        ("in bulk", MICROSECONDS, False),
    ],
    "latency": [("p50", "milliseconds", False), ("p99", "milliseconds", False)],
}
QUIET = 0.5  # load before
ENOUGH_RUNS = 3
RATE = [("jobs/s", "jobs/s", True)]

OPENING = """\
# Benchmarks

django_jobs beside its peers, on the same machine in the same run. This page is written by `{command}` from what it
measured; nothing on it is written by hand.

Every outcome of django_jobs is committed to PostgreSQL before a job counts as done. What the others keep stands beside
their names.

* All have the same PostgreSQL, the same Valkey, the same small Django project and the same bodies. Each has a
  virtualenv of its own, and starts with empty tables and an empty Valkey.
* They take turns: run 1 of each, then run 2 of each. Shown are the median of the runs, and the lowest and the highest.
  Handing over is measured three times in each run: a process may be quick or slow at it for all its life.
* A body's first line writes the time into shared memory, at the same price for all; it stands below, under Where.
* A drain starts workers on a full queue. It is timed from the start of the first body to the start of the last one, or,
  for those who record outcomes in PostgreSQL, until the last outcome is there. How many jobs are drained follows from
  the pace of each peer in a warm-up.
* A worker at rest gets one job at a time, with a pause between. Its latency is the time from the call of `enqueue()`,
  or what the peer calls it, to the first line of the body.
* At rest means: a default `runworker`; for Celery a worker with one child, and beat. Memory is the proportional set
  size of all their processes, processor time that of the workers and of both servers, 20 seconds after the last job.
* A queue of a thousand and one of a million are compared by the rate of the first 500 starts, the median of several
  starts of the workers: the second half of a thousand has less to do, since there is nothing left to claim ahead.
* `× celery` is the median divided by that of Celery without results.

```console
$ make bench                             # everything, and this page
$ make bench PEERS=celery                # ours and Celery
$ make bench ONLY=drain,latency RUNS=5   # drain, enqueue, latency, idle, growth
$ make bench QUICK=1                     # small sizes, for a first look
```

A quiet machine is needed: what else runs on it shows in the spread.
"""


def write(found: Results) -> Path:
    """Write the page of the documentation."""
    PAGE.write_text(text(found))
    return PAGE


def text(found: Results) -> str:
    opening = OPENING.format(command=found.command) + warning(found)
    return "\n".join([opening, tables(found), contestants(found), surroundings(found)])


def warning(found: Results) -> str:
    """Say so where the figures are not to be relied on."""
    load, runs = float(found.machine["load before"]), found.sizes["runs"]
    if load < QUIET and runs >= ENOUGH_RUNS:
        return ""
    return (
        "\n```{warning}\nA trial, not a result: "
        f"runs {runs}, load of the machine before it {load:.2f}. Nothing follows from these figures.\n```\n"
    )


def tables(found: Results) -> str:
    """Return all figures."""
    parts = ["## What is to be reached\n", bars(found)]
    names = list(dict.fromkeys((sample.quantity, sample.case) for sample in found.samples))
    titles = {
        "drain": "Draining a full queue",
        "enqueue": "Handing jobs over",
        "latency": "Latency of a worker at rest",
    }
    for quantity, title in titles.items():
        its_cases = [case for of, case in names if of == quantity]
        if its_cases:
            parts.append(f"## {title}\n")
        for case in its_cases:
            for value, unit, more_is_better in VALUES.get(case, RATE):
                parts += [f"### {heading(case, value)}\n", ranking(found, case, value, unit, more_is_better)]
    if ("idle", "idle") in names:
        parts += ["## At rest\n", at_rest(found)]
    growing = [case for quantity, case in names if quantity == "growth"]
    if growing:
        parts.append("## As it grows\n")
    for what in dict.fromkeys(re.sub(r"^[\d,]+ ", "", case) for case in growing):
        parts += [f"### {what.capitalize()}\n", growth(found, [case for case in growing if case.endswith(what)])]
    if found.failures:
        parts += ["## What did not work\n", failures(found)]
    return "\n".join(parts)


def heading(case: str, value: str) -> str:
    return case.capitalize() if value == "jobs/s" else f"{case.capitalize()} {value}"


def bars(found: Results) -> str:
    rows = []
    for bar in BARS:
        value = bar.measured(found)
        verdict = "not measured" if value is None else "yes" if bar.is_reached(value) else "no"
        rows.append([bar.what, bar.line, "" if value is None else f"{figure(value)} {bar.unit}", verdict])
    return table(["what", "bar", "measured", "reached"], rows)


def ranking(found: Results, case: str, value: str, unit: str, more_is_better: bool) -> str:
    """Return the peers in one case, the best first."""
    celery = found.median("celery", case, value)
    medians = {name: found.median(name, case, value) for name in found.peers}
    order = sorted((name for name in medians if medians[name]), key=lambda name: medians[name], reverse=more_is_better)
    rows = []
    for name in order:
        values = found.values(name, case, value)
        times = f"{medians[name] / celery:.2f}" if celery else ""
        label = f"**{name}**" if name == "ours" else name
        rows.append([label, found.peers[name].records, *map(figure, (medians[name], min(values), max(values))), times])
    return table(["peer", "keeps outcomes in", unit, "lowest", "highest", "× celery"], rows)


def at_rest(found: Results) -> str:
    """Return what a system costs that has nothing to do, with a column for each peer."""
    samples = [sample for sample in found.samples if sample.case == "idle"]
    names = dict.fromkeys(name for sample in samples for name in sample.values)
    peers = list(dict.fromkeys(sample.peer for sample in samples))
    units = {"memory": "memory, MB"}
    rows = [
        [units.get(name, f"{name}, % of a core"), *(figure(found.median(peer, "idle", name)) for peer in peers)]
        for name in names
    ]
    return table(["", *peers], rows)


def growth(found: Results, cases: Sequence[str]) -> str:
    """Return a line for each size, with a column for each peer and value."""
    samples = [sample for sample in found.samples if sample.case in cases]
    columns = list(dict.fromkeys((sample.peer, value) for sample in samples for value in sample.values))
    rows = [[case, *(figure(found.median(peer, case, value)) for peer, value in columns)] for case in cases]
    return table(["", *(f"{peer}, {value}" for peer, value in columns)], rows)


def failures(found: Results) -> str:
    """Return who failed at what; the whole error is in the raw results."""
    rows = [[one.peer, one.case or "warm-up", one.error.strip().splitlines()[-1]] for one in found.failures]
    return table(["peer", "at", "error"], [[cell.replace("|", "/") for cell in row] for row in rows])


def contestants(found: Results) -> str:
    """Return who was measured, in which version and configuration."""
    parts = ["## Who was measured\n"]
    for name, peer in found.peers.items():
        versions = ", ".join(f"{package} {version}" for package, version in peer.versions.items())
        commands = [f"# {shape}\n" + "\n".join(with_count(lines)) for shape, lines in peer.workers.items()]
        parts.append(f"### {name}\n\n{peer.about}\n\nVersions: {versions}.\n")
        if commands:
            parts.append("```text\n" + "\n".join(commands) + "\n```\n")
    return "\n".join(parts)


def with_count(lines: Sequence[str]) -> list[str]:
    """Return each different line once, and how often it stands there."""
    return [line if lines.count(line) == 1 else f"{lines.count(line)} times: {line}" for line in dict.fromkeys(lines)]


def surroundings(found: Results) -> str:
    rows = [[name, value] for name, value in found.machine.items()]
    rows += [["measured", f"{found.began} UTC, at commit {found.commit}"], ["command", f"`{found.command}`"]]
    rows.append(["sizes", ", ".join(f"{name} {_in_words(value)}" for name, value in found.sizes.items())])
    return "## Where\n\n" + table(["", ""], rows)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table, figures to the right."""
    rows = list(rows)
    right = [all(re.fullmatch(r"[\d,.]*", row[place]) for row in rows) for place in range(len(head))]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    ruler = [
        "-" * (width - 1) + ":" if is_right else "-" * width for width, is_right in zip(widths, right, strict=True)
    ]
    lines = []
    for row in [head, ruler, *rows]:
        cells = [
            cell.rjust(width) if is_right else cell.ljust(width)
            for cell, width, is_right in zip(row, widths, right, strict=True)
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(value: float | None) -> str:
    """Return a figure with about three digits."""
    if value is None:
        return ""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


if __name__ == "__main__":
    write(Results.load(FOLDER / "full.json"))


def _in_words(value: object) -> str:
    return " to ".join(f"{one:,}" for one in (value[0], value[-1])) if isinstance(value, tuple | list) else f"{value}"
