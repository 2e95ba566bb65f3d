"""What django_jobs wants to reach beside its peers, and whether it does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.results import Results

DRAIN = "no-op, 2 processes"
CELERY = ("celery", "celery-solo")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One line to reach. ``measured`` returns None where the results do not say."""

    what: str
    measured: Callable[[Results], float | None]
    at_least: float | None = None
    at_most: float | None = None
    unit: str = "x"

    @property
    def line(self) -> str:
        if self.at_least is not None:
            return f">= {self.at_least:,g} {self.unit}"
        return f"<= {self.at_most:,g} {self.unit}"

    def is_reached(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= self.at_most


def ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def ours(found: Results, case: str, value: str) -> float | None:
    return found.median("ours", case, value)


def drain_against(choose: Callable[[Results], list[str]]) -> Callable[[Results], float | None]:
    """Return how many times as fast as the fastest of some peers ours drains."""
    return lambda found: ratio(ours(found, DRAIN, "jobs/s"), found.best(choose(found), DRAIN, "jobs/s"))


def keeping_nothing(found: Results) -> list[str]:
    return [name for name, peer in found.peers.items() if peer.records == "nothing"]


def recording(found: Results) -> list[str]:
    return [name for name, peer in found.peers.items() if peer.records == "PostgreSQL" and name != "ours"]


def to_celery(case: str, value: str) -> Callable[[Results], float | None]:
    return lambda found: ratio(ours(found, case, value), found.median("celery", case, value))


def to_delay(value: str) -> Callable[[Results], float | None]:
    """Return the time that ours takes in one way as a part of Celery's delay()."""
    return lambda found: ratio(ours(found, "enqueue", value), found.median("celery", "enqueue", "one by one p50"))


def rate_of_bulk(found: Results) -> float | None:
    return ratio(found.median("celery", "enqueue", "one by one p50"), ours(found, "enqueue", "in bulk"))


def kept_at(few: str, many: str, value: str) -> Callable[[Results], float | None]:
    """Return what part of its rate ours keeps when there is much."""
    return lambda found: ratio(ours(found, many, value), ours(found, few, value))


BARS = [
    Bar(
        what="drain of no-op jobs, 2 processes, against Celery without results",
        measured=drain_against(lambda found: list(CELERY)),
        at_least=5,
    ),
    Bar(what="... against the fastest that keeps nothing", measured=drain_against(keeping_nothing), at_least=1.3),
    Bar(what="... against the fastest that records in PostgreSQL", measured=drain_against(recording), at_least=12),
    Bar(
        what="enqueue() one by one, p50, against Celery's delay()",
        measured=to_celery("enqueue", "one by one p50"),
        at_most=1.25,
    ),
    Bar(what="enqueue() in atomic(), a job, against delay()", measured=to_delay("in atomic()"), at_most=0.8),
    Bar(what="rate of enqueue_many() against delay()", measured=rate_of_bulk, at_least=10),
    Bar(what="latency at rest, p50, against Celery", measured=to_celery("latency", "p50"), at_most=0.7),
    Bar(what="latency at rest, p99, against Celery", measured=to_celery("latency", "p99"), at_most=0.7),
    Bar(
        what="10 ms sleeps, 2 processes x 8 threads",
        measured=lambda found: ours(found, "10 ms sleep, 2 x 8", "jobs/s"),
        at_least=1440,
        unit="jobs/s",
    ),
    Bar(
        what="async 10 ms sleeps, 1 process",
        measured=lambda found: ours(found, "async 10 ms sleep, 1 process", "jobs/s"),
        at_least=3000,
        unit="jobs/s",
    ),
    Bar(what="memory at rest against a Celery worker and beat", measured=to_celery("idle", "memory"), at_most=1),
    Bar(
        what="processor time at rest, worker, Valkey and PostgreSQL",
        measured=lambda found: ours(found, "idle", "cpu in all"),
        at_most=0.5,
        unit="% of a core",
    ),
    Bar(
        what="drain with 1,000,000 waiting, against 1,000, its first half",
        measured=kept_at("1,000 waiting", "1,000,000 waiting", "first jobs/s"),
        at_least=0.85,
    ),
    Bar(
        what="drain beside 5,000,000 finished jobs, against none",
        measured=kept_at("0 finished", "5,000,000 finished", "jobs/s"),
        at_least=0.85,
    ),
]
