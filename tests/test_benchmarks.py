"""The benchmarks measure what they say, in a small way, and their pages hold what was measured."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

import pytest

from benchmarks import budget, processes, profiled, report
from benchmarks.__main__ import measure
from benchmarks.bars import BARS
from benchmarks.peers import PEERS
from benchmarks.quantities import Case, Sizes, cases
from benchmarks.results import FOLDER, Contestant, Failure, Results, Sample
from benchmarks.stage import Stage
from tests import services

pytestmark = pytest.mark.once

OURS = PEERS["ours"]
TINY = Sizes(runs=1, seconds=1, enqueues=60, in_transaction=10, bulk=10, waiting=(200,), finished=())


def results(*samples: Sample) -> Results:
    peers = {name: Contestant(about="", records=peer.records, versions={}) for name, peer in PEERS.items()}
    return Results(command="make bench", commit="c", began="today", sizes={}, peers=peers, samples=list(samples))


def drained(peer: str, rate: float, run: int = 0) -> Sample:
    return Sample(quantity="drain", case="no-op, 2 processes", peer=peer, run=run, values={"jobs/s": rate})


@pytest.mark.postgresql
def test_ours_can_be_measured(monkeypatch):
    monkeypatch.setattr("benchmarks.stage.python_of", lambda peer: Path(sys.executable))
    session = services.session()
    found = results()

    with Stage(session.valkey, session.postgres) as stage:
        for case in cases(TINY):
            if case.name in ("no-op, 2 processes", "enqueue", "200 waiting"):
                measure(stage, case, TINY, {OURS: 100.0}, found)

    assert found.failures == []
    assert found.values("ours", "no-op, 2 processes", "jobs") == [100]
    for case, value in [("no-op, 2 processes", "jobs/s"), ("enqueue", "in bulk"), ("200 waiting", "first jobs/s")]:
        assert found.median("ours", case, value) > 0


def test_a_peer_that_fails_is_reported_and_not_tried_again():
    calls = []

    class Broken:
        def peer(self, peer):
            calls.append(peer.name)
            raise RuntimeError("no such server")

    found = results()
    case = Case(quantity="drain", name="no-op, 2 processes", measure=lambda *_: {})

    measure(Broken(), case, Sizes(runs=3), {OURS: 1.0}, found)

    assert calls == ["ours"]
    assert found.failures == [Failure(peer="ours", case=case.name, error="RuntimeError: no such server")]
    assert "no such server" in report.tables(found)


def test_peers_take_turns():
    turns = []

    class Empty:
        @contextlib.contextmanager
        def peer(self, peer):
            turns.append(peer.name)
            yield peer

    found = results()
    case = Case(quantity="drain", name="some", measure=lambda player, *_: {"jobs/s": len(player.name)})

    measure(Empty(), case, Sizes(runs=2), {OURS: 1.0, PEERS["celery"]: 1.0}, found)

    assert turns == ["ours", "celery", "ours", "celery"]
    assert found.values("celery", "some", "jobs/s") == [6, 6]


def test_the_table_shows_median_spread_and_ratio():
    rates = [("ours", 900), ("ours", 1200), ("ours", 1000), ("celery", 200), ("celery", 200), ("celery", 200)]
    found = results(*(drained(peer, rate, run) for run, (peer, rate) in enumerate(rates)))

    rows = [line.split() for line in report.tables(found).splitlines() if "**ours**" in line]

    assert rows == [["|", "**ours**", "|", "PostgreSQL", "|", "1,000", "|", "900", "|", "1,200", "|", "5.00", "|"]]


@pytest.mark.parametrize(("fastest", "verdict"), [(2000, "yes"), (2100, "no")])
def test_a_bar_compares_with_the_fastest(fastest, verdict):
    found = results(drained("ours", 10_000), drained("celery", 500), drained("celery-solo", fastest))

    [row] = [line for line in report.bars(found).splitlines() if "against Celery without results" in line]

    assert row.split("|")[-2].strip() == verdict


def test_what_was_not_measured_is_not_called_reached():
    assert {bar.measured(results()) for bar in BARS} == {None}
    assert "yes" not in report.bars(results())


@pytest.mark.parametrize(("load", "runs", "warned"), [("0.10", 3, False), ("7.00", 3, True), ("0.10", 1, True)])
def test_a_page_says_so_when_its_figures_are_not_to_be_relied_on(load, runs, warned):
    found = results(drained("ours", 1))
    found.machine, found.sizes = {"load before": load}, {"runs": runs}

    assert ("A trial, not a result" in report.text(found)) is warned


def test_memory_and_processor_time_are_seen_from_outside():
    mine = processes.tree(os.getpid())
    memory, before = processes.memory_mb([os.getpid()]), processes.cpu_seconds([os.getpid()])

    end = time.process_time() + 0.2
    while time.process_time() < end:
        pass

    assert os.getpid() in mine
    assert memory > 10
    assert 0.1 < processes.cpu_seconds([os.getpid()]) - before < 2


@pytest.mark.parametrize("path", profiled.STEPS)
def test_the_budget_finds_every_step(path):
    owner, name = profiled.find(path)

    assert callable(getattr(owner, name))


def test_the_pages_hold_what_was_measured():
    assert report.PAGE.read_text() == report.text(Results.load(FOLDER / "full.json"))
    assert budget.PAGE.read_text() == budget.page()
