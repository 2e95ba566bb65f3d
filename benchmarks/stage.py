"""Where the peers play: a PostgreSQL with its default durability, a Valkey, and one peer at a time."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from benchmarks.install import ROOT, python_of
from benchmarks.peers import Peer
from benchmarks.stamps import Stamps
from tests.services import Postgres, Valkey, temporary_folder

STOP_SECONDS = 10  # for a worker to end after SIGTERM
LOST_SECONDS = 120  # without all jobs begun or recorded, a measurement has failed


class Stage:
    """The servers of one run of the benchmarks; those given and running stay so."""

    def __init__(self, valkey: Valkey | None = None, postgres: Postgres | None = None) -> None:
        self.valkey = valkey or Valkey()
        self.postgres = postgres or Postgres()
        self._own = [server for server in (self.valkey, self.postgres) if not server.is_running()]
        self.folder = Path(temporary_folder())
        self.folder.mkdir()
        shared_memory = Path("/dev/shm")  # not on every system; a temporary folder does as well, if on a slower disk
        self._stamps_path = (shared_memory if shared_memory.is_dir() else self.folder) / f"stamps-{os.getpid()}"
        self.stamps = Stamps(self._stamps_path)
        self._migrated: set[str] = set()

    def __enter__(self) -> Stage:
        for server in self._own:
            server.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        for server in self._own:
            server.stop()
        self._stamps_path.unlink()

    @contextlib.contextmanager
    def peer(self, peer: Peer) -> Iterator[Player]:
        """Give a peer the stage, with an empty Redis, empty tables, and a process that enqueues."""
        player = Player(self, peer)
        with self.valkey.client() as redis:
            redis.flushall()
        if peer.name not in self._migrated:
            self.make_database(peer.name)
            player.manage("migrate", "--verbosity", "0")
            self._migrated.add(peer.name)
        with player:
            player.reset()
            self.settle(peer)
            yield player

    def make_database(self, name: str) -> None:
        if not self.postgres.execute(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            self.postgres.execute(f'CREATE DATABASE "{name}"')

    def settle(self, peer: Peer) -> None:
        """Write out what was done before, so that nobody pays for somebody else."""
        self.postgres.execute("VACUUM (ANALYZE)", peer.name)
        self.postgres.execute("CHECKPOINT", peer.name)

    def environment(self, peer: Peer) -> dict[str, str]:
        return os.environ | {
            "BENCH_PEER": peer.name,
            "BENCH_REDIS": self.valkey.url,
            "BENCH_POSTGRES": self.postgres.database_url(peer.name),
            "BENCH_STAMPS": str(self._stamps_path),
            "BENCH_FOLDER": str(self.folder),
            "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "",
        }


class Player:
    """A peer on the stage: its process that enqueues, and its workers."""

    def __init__(self, stage: Stage, peer: Peer):
        self.stage = stage
        self.peer = peer
        self.stamps = stage.stamps
        self._environment = stage.environment(peer)
        self._client: subprocess.Popen | None = None

    def __enter__(self) -> Player:
        self._client = self._start([str(python_of(self.peer)), "-m", "benchmarks.client"], "client", talks=True)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._client.stdin.close()
        _end([self._client])
        self._client.stdout.close()

    @property
    def client_pid(self) -> int:
        return self._client.pid

    def manage(self, *arguments: str) -> None:
        """Run manage.py in the peer's virtualenv."""
        command = [str(python_of(self.peer)), "-m", "benchmarks.manage", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(arguments)} failed:\n{(done.stdout + done.stderr)[-2000:]}")

    def call(self, name: str, **arguments: Any) -> Any:
        """Ask the enqueuing process for something, see benchmarks/client.py."""
        print(json.dumps([name, arguments]), file=self._client.stdin, flush=True)
        line = self._client.stdout.readline()
        if not line:
            raise RuntimeError(f"the client ended:\n{self._log('client')}")
        reply = json.loads(line)
        if "error" in reply:
            raise RuntimeError(reply["error"])
        return reply["value"]

    def reset(self) -> None:
        """Forget what was done so far."""
        self.call("clear")
        self.stamps.clear()

    @contextlib.contextmanager
    def worker(
        self, processes: int = 1, threads: int | None = None, *, is_async: bool = False, copies: int = 1
    ) -> Iterator[Worker]:
        """Run ``copies`` workers of so many processes while the block lasts; None threads: as the peer likes best."""
        commands = [self.call("worker", processes=processes, threads=threads, is_async=is_async) for _ in range(copies)]
        with self.running(list(chain(*commands))) as worker:
            yield worker

    @contextlib.contextmanager
    def everything(self) -> Iterator[Worker]:
        """Run a whole system at its smallest while the block lasts."""
        with self.running(self.call("everything")) as worker:
            yield worker

    @contextlib.contextmanager
    def running(self, commands: list[list[str]]) -> Iterator[Worker]:
        """Run commands while the block lasts."""
        processes = [self._start(command, f"worker-{number}") for number, command in enumerate(commands)]
        try:
            yield Worker(processes, self)
        finally:
            _end(processes)

    def wait_recorded(self, count: int) -> None:
        """Return when so many outcomes are on record; at once where the peer keeps none in the database."""
        deadline = time.monotonic() + LOST_SECONDS
        while (recorded := self.call("recorded")) is not None and recorded < count:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{recorded} of {count} outcomes are on record after {LOST_SECONDS} s")
            time.sleep(0.01)

    def _start(self, command: list[str], log: str, talks: bool = False) -> subprocess.Popen:
        with open(self._log_path(log), "wb") as out:
            return subprocess.Popen(
                command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.PIPE if talks else subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else out,
                stderr=out,
                text=True,
                start_new_session=True,
            )

    def _log_path(self, name: str) -> Path:
        return self.stage.folder / f"{self.peer.name}-{name}.log"

    def _log(self, name: str) -> str:
        return self._log_path(name).read_text(errors="replace")[-2000:]


class Worker:
    """The running processes of a peer's workers."""

    def __init__(self, processes: list[subprocess.Popen], player: Player):
        self.pids = [process.pid for process in processes]
        self._processes = processes
        self._player = player

    def check(self) -> None:
        """Raise with the last words of a worker that has ended by itself."""
        for number, process in enumerate(self._processes):
            if process.poll() is not None:
                raise RuntimeError(
                    f"a worker ended with {process.returncode}:\n{self._player._log(f'worker-{number}')}"
                )


def _end(processes: list[subprocess.Popen]) -> None:
    """Stop processes in good order, then kill what is left of their groups."""
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    for process in processes:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(max(0, deadline - time.monotonic()))
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
