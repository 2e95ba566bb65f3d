"""The process that hands jobs over, in a peer's virtualenv: one request a line on stdin, one reply on stdout."""

from __future__ import annotations

import importlib
import json
import os
import random
import sys
import time
import traceback
from time import monotonic, perf_counter

import django
from django.conf import settings
from django.db import transaction

from benchmarks.stamps import Stamps

CHUNK = 1000  # jobs handed over by one call of enqueue_many


class Client:
    """What the runner may ask for. Durations are seconds."""

    def __init__(self):
        self.peer = importlib.import_module(f"benchmarks.peers.{settings.PEER.module}")
        self.times = Stamps(os.environ["BENCH_STAMPS"]).times

    def clear(self) -> None:
        self.peer.clear()

    def recorded(self) -> int | None:
        return self.peer.recorded()

    def worker(self, processes: int, threads: int | None, is_async: bool = False) -> list[list[str]]:
        return self.peer.worker(processes, threads, is_async)

    def everything(self) -> list[list[str]]:
        """Return the commands of a whole system at its smallest: one that runs bodies, and what fires schedules."""
        return self.peer.everything() if hasattr(self.peer, "everything") else self.peer.worker(1, None)

    def waiting(self) -> int:
        return self.peer.waiting()

    def multiply(self, count: int, finished: bool) -> None:
        self.peer.multiply(count, finished)

    def fill(self, work: str, count: int, payload: int = 0) -> float:
        """Hand over the jobs 0 to ``count``, in the quickest way there is."""
        began, text = perf_counter(), "x" * payload
        if self.peer.enqueue_many is None:
            for number in range(count):
                self.peer.enqueue(work, number, text)
        else:
            for start in range(0, count, CHUNK):
                self.peer.enqueue_many(work, range(start, min(start + CHUNK, count)), text)
        return perf_counter() - began

    def one_by_one(self, count: int, payload: int = 0) -> list[float]:
        """Return how long each call of enqueue() took."""
        durations, text = [], "x" * payload
        for number in range(count):
            began = perf_counter()
            self.peer.enqueue("noop", number, text)
            durations.append(perf_counter() - began)
        return durations

    def in_transaction(self, count: int) -> float:
        """Return how long it took to enqueue within one atomic() block, its commit included."""
        began = perf_counter()
        with transaction.atomic():
            for number in range(count):
                self.peer.enqueue("noop", number, "")
        return perf_counter() - began

    def bulk(self, count: int) -> float | None:
        if self.peer.enqueue_many is None:
            return None
        began = perf_counter()
        self.peer.enqueue_many("noop", range(count), "")
        return perf_counter() - began

    def latencies(self, count: int, seconds: float) -> list[float]:
        """Return times from the call of enqueue() to the body's first line, each on a worker at rest.

        There are fewer than ``count`` if it takes too long.
        """
        durations, end = [], monotonic() + seconds
        for number in range(count):
            durations.append(self._latency(number))
            if monotonic() > end:
                break
        return durations

    def moments(self, count: int, pause: float) -> list[tuple[float, list]]:
        """Return for each job, with a pause before it, when its call began, and the moments of its steps."""
        return [(began, taken) for began, taken in self.peer.moments(count, pause)]

    def _latency(self, number: int) -> float:
        time.sleep(random.uniform(0.01, 0.03))
        sent = monotonic()
        self.peer.enqueue("noop", number, "")
        while not self.times[number]:
            if monotonic() > sent + 20:
                raise TimeoutError(f"job {number} had not begun after 20 s")
            time.sleep(0.005)  # seldom, so that looking takes nothing from the worker
        return self.times[number] - sent


def main() -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no reply
    django.setup()
    client = Client()
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            reply = {"value": getattr(client, name)(**arguments)}
        except Exception:
            reply = {"error": traceback.format_exc()}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
