"""What came out of a run, with all that is needed to judge it; kept as JSON in ``benchmarks/results/``."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.install import ROOT
from benchmarks.stage import Stage

FOLDER = Path(__file__).resolve().parent / "results"


@dataclass(kw_only=True)
class Sample:
    """One measurement of one peer in one case."""

    quantity: str
    case: str
    peer: str
    run: int
    values: dict[str, float]


@dataclass(kw_only=True)
class Failure:
    """A peer that could not be installed or measured, and why."""

    peer: str
    case: str
    error: str


@dataclass(kw_only=True)
class Contestant:
    """A peer as it was measured."""

    about: str
    records: str
    versions: dict[str, str]
    workers: dict[str, list[str]] = field(default_factory=dict)  # processes x threads -> commands


@dataclass(kw_only=True)
class Results:
    """All samples of a run."""

    command: str
    commit: str
    began: str
    sizes: dict[str, Any]
    machine: dict[str, str] = field(default_factory=dict)
    peers: dict[str, Contestant] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)

    @classmethod
    def new(cls, *, command: str, sizes: dict[str, Any]) -> Results:
        began = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        return cls(command=command, commit=_commit(), began=began, sizes=sizes)

    @classmethod
    def load(cls, path: Path) -> Results:
        data = json.loads(path.read_text())
        data["peers"] = {name: Contestant(**one) for name, one in data["peers"].items()}
        data["samples"] = [Sample(**one) for one in data["samples"]]
        data["failures"] = [Failure(**one) for one in data["failures"]]
        return cls(**data)

    def save(self, name: str) -> Path:
        FOLDER.mkdir(exist_ok=True)
        path = FOLDER / f"{name}.json"
        path.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return path

    def values(self, peer: str, case: str, value: str) -> list[float]:
        """Return a value of every run that has it."""
        mine = (sample for sample in self.samples if (sample.peer, sample.case) == (peer, case))
        return [sample.values[value] for sample in mine if value in sample.values]

    def median(self, peer: str, case: str, value: str) -> float | None:
        values = self.values(peer, case, value)
        return statistics.median(values) if values else None

    def best(self, peers: Iterable[str], case: str, value: str) -> float | None:
        """Return the highest median of the peers."""
        return max(filter(None, (self.median(peer, case, value) for peer in peers)), default=None)

    def failure(self, peer: str, case: str) -> Failure | None:
        return next((one for one in self.failures if one.peer == peer and one.case in (case, "")), None)


def machine(stage: Stage) -> dict[str, str]:
    """Describe where it was measured."""
    [[postgres]] = stage.postgres.execute("SHOW server_version")
    durability = [stage.postgres.execute(f"SHOW {name}")[0][0] for name in ("fsync", "synchronous_commit")]
    with stage.valkey.client() as redis:
        valkey = redis.info("server")
    return {
        "processor": f"{os.cpu_count()} x {_processor()}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
        "PostgreSQL": f"{postgres}, fsync {durability[0]}, synchronous_commit {durability[1]}, otherwise its defaults",
        "Valkey": f"{valkey.get('valkey_version', valkey['redis_version'])}, without persistence, by TCP",
        "fsync of 8 kB": f"{1000 * _fsync_seconds(stage.folder):.2f} ms, median",
        "noting that a body began": f"{1e6 * _stamp_seconds(stage):.2f} microseconds",
        "load before": f"{os.getloadavg()[0]:.2f}",
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(": ")[2]
    return platform.machine()


def _fsync_seconds(folder: Path) -> float:
    durations = []
    with open(folder / "fsync", "wb") as file:
        for _ in range(50):
            file.write(bytes(8192))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            durations.append(time.perf_counter() - began)
    return statistics.median(durations)


def _stamp_seconds(stage: Stage) -> float:
    times, count = stage.stamps.times, 100_000
    began = time.perf_counter()
    for number in range(count):
        times[number] = time.monotonic()
    return (time.perf_counter() - began) / count


def _commit() -> str:
    done = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"
