"""``python -m benchmarks``: measures ours and the peers in turn, and writes what came out."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks import peers, report, results
from benchmarks.install import ROOT, install, versions
from benchmarks.peers import PEERS, Peer
from benchmarks.quantities import QUICK, Case, Sizes, cases, scaled, warm_up
from benchmarks.results import Contestant, Failure, Results, Sample
from benchmarks.stage import Stage

QUANTITIES = ("drain", "enqueue", "latency", "idle", "growth")
SHAPES = {
    "1 process": (1, None, False),
    "2 processes": (2, None, False),
    "2 x 8": (2, 8, False),
    "1 process, async": (1, None, True),
}


def main() -> None:
    options = arguments()
    sizes = scaled(QUICK if options.quick else Sizes(), runs=options.runs, seconds=options.seconds)
    chosen = [case for case in cases(sizes) if not options.only or case.quantity in options.only]
    is_whole = not options.only and not options.quick and len(options.peers) == len(PEERS)
    found = Results.new(command=command(options), sizes=asdict(sizes))
    try:
        with Stage() as stage:
            found.machine = results.machine(stage)
            paces = {peer: pace for peer in options.peers if (pace := enter(stage, peer, found))}
            for case in chosen:
                measure(stage, case, sizes, paces, found)
    except KeyboardInterrupt:
        print("Stopped. This is what was measured so far:\n")
        is_whole = options.write = False
    print(report.tables(found))
    if is_whole or options.write:
        print(f"Written: {report.write(found).relative_to(ROOT)} from {found.save('full').relative_to(ROOT)}")
    else:
        print(f"Raw results: {found.save('last').relative_to(ROOT)}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--peers", type=_peers, default=list(PEERS.values()), help=", ".join(PEERS))
    parser.add_argument("--only", type=_quantities, default=[], help=", ".join(QUANTITIES))
    parser.add_argument("--runs", type=int, help="of each measurement")
    parser.add_argument("--seconds", type=float, help="that a drain should last")
    parser.add_argument("--quick", action="store_true", help="small sizes, for a first look")
    parser.add_argument("--write", action="store_true", help="the page of the documentation, though not all is there")
    return parser.parse_args()


def _words(text: str) -> list[str]:
    return re.split(r"[\s,]+", text.strip())


def _quantities(text: str) -> list[str]:
    names = _words(text)
    if unknown := set(names) - set(QUANTITIES):
        raise argparse.ArgumentTypeError(f"no quantity {', '.join(sorted(unknown))}; there are {', '.join(QUANTITIES)}")
    return names


def _peers(text: str) -> list[Peer]:
    """Ours is always among them."""
    names = _words(text)
    if unknown := set(names) - set(PEERS):
        raise argparse.ArgumentTypeError(f"no peer {', '.join(sorted(unknown))}; there are {', '.join(PEERS)}")
    return [peer for peer in PEERS.values() if peer.name in ("ours", *names)]


def command(options: argparse.Namespace) -> str:
    """Return the make command that does the same."""
    words = ["make bench"]
    if len(options.peers) < len(PEERS):
        words.append("PEERS=" + (",".join(peer.name for peer in options.peers if peer.name != "ours") or "ours"))
    if options.only:
        words.append("ONLY=" + ",".join(options.only))
    words += [f"{name.upper()}={value}" for name in ("runs", "seconds") if (value := getattr(options, name))]
    return " ".join(words + ["QUICK=1"] * options.quick + ["WRITE=1"] * options.write)


def enter(stage: Stage, peer: Peer, found: Results) -> float | None:
    """Install a peer and warm it up; return its pace in jobs a second, None if it does not work here."""
    try:
        install(peer)
        contestant = found.peers[peer.name] = describe(peer)
        with stage.peer(peer) as player:
            for name, (processes, threads, is_async) in SHAPES.items():
                commands = player.call("worker", processes=processes, threads=threads, is_async=is_async)
                if peer.runs_async or not is_async:
                    contestant.workers[name] = [readable(words) for words in commands]
            pace = warm_up(player)
    except Exception as error:  # whatever is wrong with a peer, the others are measured
        return fail(found, peer, "", error)
    print(f"{peer.name}: about {pace:,.0f} jobs/s", flush=True)
    return pace


def describe(peer: Peer) -> Contestant:
    """Return what the report says of a peer: the docstring of its file, and what pip installed."""
    source = Path(peers.__file__).with_name(f"{peer.module}.py").read_text()
    about = ast.get_docstring(ast.parse(source))
    installed = versions(peer)
    wanted = {re.split(r"[\[ ]", package)[0].lower() for package in peer.packages} | {"redis", "django-jobs"}
    return Contestant(
        about=about,
        records=peer.records,
        versions={name: version for name, version in sorted(installed.items()) if name in wanted},
    )


def readable(words: list[str]) -> str:
    """Return a command without the folders of this machine."""
    return " ".join(os.path.basename(word) if word.startswith("/") else word for word in words)


def measure(stage: Stage, case: Case, sizes: Sizes, paces: dict[Peer, float], found: Results) -> None:
    """Measure one case: run 1 of every peer, run 2 of every peer ..."""
    for run in range(min(sizes.runs, case.most_runs) * case.multiple):
        for peer, pace in paces.items():
            if not case.suits(peer) or found.failure(peer.name, case.name):
                continue
            began = time.monotonic()
            try:
                with stage.peer(peer) as player:
                    values = case.measure(player, sizes, pace)
            except Exception as error:  # it is reported, and the others are measured
                fail(found, peer, case.name, error)
                continue
            sample = Sample(quantity=case.quantity, case=case.name, peer=peer.name, run=run, values=values)
            found.samples.append(sample)
            shown = ", ".join(f"{name} {value:,.4g}" for name, value in values.items())
            print(f"{case.name}, {peer.name}: {shown} ({time.monotonic() - began:.0f} s)", flush=True)


def fail(found: Results, peer: Peer, case: str, error: Exception) -> None:
    text = f"{type(error).__name__}: {error}".replace(str(ROOT), ".").replace(sys.base_prefix, "python")
    found.failures.append(Failure(peer=peer.name, case=case, error=text))
    print(f"{case or 'warm-up'}, {peer.name}: FAILED\n{text}", flush=True)


if __name__ == "__main__":
    main()
