"""Everything breaks at random, again and again; in the end every invariant holds over every job.

The seed is printed; ``make chaos MINUTES=10 SEED=7`` is the long run. With CHAOS_SECONDS unset it is short.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import connections

from django_jobs.models import Job
from tests.services import Postgres, Valkey, wait_for
from tests.worker.conftest import WorkerProcess

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

SECONDS = float(os.environ.get("CHAOS_SECONDS", 20))
SEED = int(os.environ.get("CHAOS_SEED") or random.SystemRandom().randrange(10**6))
MANAGE = Path(__file__).parent.parent / "manage.py"
WORKERS = 3
OPTIONS = [("--processes", "2"), ("--threads", "4"), ()]


class Chaos:
    """Three workers, two producers, one Valkey and one PostgreSQL, and what may happen to them."""

    def __init__(self, start_worker: Callable[..., WorkerProcess], valkey: Valkey, postgres: Postgres, seed: int):
        self.chance = random.Random(seed)
        self.start_worker = start_worker
        self.valkey = valkey
        self.postgres = postgres
        self.workers = [start_worker(*OPTIONS[number]) for number in range(WORKERS)]
        self.producers = [self.start_producer() for _ in range(2)]
        self.frozen: list[tuple[float, WorkerProcess]] = []
        self.story: list[str] = []

    def start_producer(self) -> subprocess.Popen:
        command = [sys.executable, str(MANAGE), "produce", "--seed", str(self.chance.randrange(10**6))]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def run(self, seconds: float) -> None:
        events = [
            (6, self.kill_child),
            (3, self.kill_worker),
            (3, self.stop_worker),
            (4, self.freeze_worker),
            (4, self.flush),
            (2, self.kill_valkey),
            (2, self.restart_postgres),
            (3, self.terminate_backends),
            (4, self.kill_producer),
        ]
        weights, acts = zip(*events, strict=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            (act,) = self.chance.choices(acts, weights)
            self.story.append(act.__name__)
            act()
            self.thaw()
            time.sleep(self.chance.random() * 1.5)

    def settle(self) -> None:
        """Heal everything, and let no new job come."""
        for producer in self.producers:
            producer.kill()
            producer.wait()
        self.thaw(everything=True)
        connections.close_all()

    # What may happen

    def a_worker(self) -> int:
        return self.chance.randrange(WORKERS)

    def kill_child(self) -> None:
        with contextlib.suppress(ProcessLookupError, FileNotFoundError, IndexError):
            os.kill(self.chance.choice(self.workers[self.a_worker()].children()), signal.SIGKILL)

    def kill_worker(self) -> None:
        number = self.a_worker()
        self.workers[number].kill()
        self.workers[number] = self.start_worker(*OPTIONS[number])

    def stop_worker(self) -> None:
        number = self.a_worker()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.workers[number].process.pid, signal.SIGCONT)
            self.workers[number].process.send_signal(signal.SIGTERM)
        self.workers[number] = self.start_worker(*OPTIONS[number])

    def freeze_worker(self) -> None:
        worker = self.workers[self.a_worker()]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.process.pid, signal.SIGSTOP)
            self.frozen.append((time.monotonic() + self.chance.choice([1, 3, 9]), worker))

    def thaw(self, everything: bool = False) -> None:
        for until, worker in list(self.frozen):
            if everything or time.monotonic() > until:
                self.frozen.remove((until, worker))
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.process.pid, signal.SIGCONT)

    def flush(self) -> None:
        with self.valkey.client() as client:
            client.flushall()

    def kill_valkey(self) -> None:
        self.valkey.kill()
        time.sleep(self.chance.random() * 2)
        self.valkey.start()

    def restart_postgres(self) -> None:
        self.postgres.restart("immediate")

    def terminate_backends(self) -> None:
        self.postgres.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
        )

    def kill_producer(self) -> None:
        number = self.chance.randrange(len(self.producers))
        self.producers[number].kill()
        self.producers[number].wait()
        self.producers[number] = self.start_producer()


def test_every_invariant_survives_chaos(worker, valkey, postgres, log, all_is_well):
    print(f"chaos for {SECONDS:g} s, seed {SEED}")
    chaos = Chaos(worker, valkey, postgres, SEED)

    try:
        wait_for(Job.objects.exists, 60, "any job at all")
        chaos.run(SECONDS)
    finally:
        chaos.settle()

    print(" ".join(chaos.story))
    all_is_well(seconds=60)
    print(f"{Job.objects.count()} jobs, all well")
