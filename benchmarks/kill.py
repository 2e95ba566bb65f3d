"""Kills workers in mid-job with SIGKILL and says when the job runs again: ours, Celery, RQ and Dramatiq.

    make kill-times            or, in its virtualenv, python benchmarks/kill.py --seconds 180

Each contestant has a Valkey of its own out of a wheel, and two workers with what its documentation shows
first, one of which stands by. The job writes its process's id into a file and sleeps. Then either that
process is killed, or the whole worker with all of its processes. When the file has a second line, the job
runs again. All wait at the same time, and none longer than the seconds given.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import psutil  # noqa: E402  needs the path, as what follows

from tests.services import Postgres, Valkey  # noqa: E402

VENVS = ROOT / ".venv" / "peers"
PAGE = ROOT / "docs" / "explanation" / "deaths.md"
CASES = {"child": "the process that runs it", "worker": "the whole worker"}
STEADY_SECONDS = 8.0  # after the start of the workers: those that watch each other know each other then

BODY = """
import os, time

def body(path):
    with open(path, "a") as file:
        file.write(f"{os.getpid()} {time.time()}\\n")
    time.sleep(3600)
"""


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """How one of them is installed, given a job and run. ``{python}``: of its virtualenv."""

    name: str
    packages: tuple[str, ...]
    program: str  # app.py; enqueues when it is run with a path
    worker: tuple[str, ...]
    note: str = ""
    environment: dict[str, str] = field(default_factory=dict)


CELERY = """
import os, sys
from celery import Celery
from body import body

app = Celery("app", broker=os.environ["REDIS"])
app.conf.broker_connection_retry_on_startup = True
{options}
run = app.task(name="run")(body)

if len(sys.argv) == 2 and sys.argv[0].endswith("app.py"):
    run.delay(sys.argv[1])
"""
LATE = """
app.conf.task_acks_late = app.conf.task_reject_on_worker_lost = True
app.conf.broker_transport_options = {"visibility_timeout": 10}
"""
RQ = """
import os, sys
from redis import Redis
from rq import Queue, Retry
from body import body

if __name__ == "__main__":
    Queue(connection=Redis.from_url(os.environ["REDIS"])).enqueue(body, sys.argv[1], job_timeout=3600{retry})
"""
DRAMATIQ = """
import os, sys
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from body import body

dramatiq.set_broker(RedisBroker(url=os.environ["REDIS"]))
run = dramatiq.actor(body, time_limit=3_600_000)

if __name__ == "__main__":
    run.send(sys.argv[1])
"""
OURS = """
import sys

if __name__ == "__main__":
    import django
    django.setup()
    from jobs_app.tasks import run
    run.enqueue(sys.argv[1])
"""

CELERY_WORKER = ("{python}", "-m", "celery", "-A", "app", "worker", "--concurrency", "1", "--loglevel", "ERROR")
RQ_WORKER = ("{python}", "-m", "rq.cli", "worker", "--url", "{redis}", "--quiet")
CONTESTANTS = [
    Contestant(
        name="django_jobs",
        packages=("-e", str(ROOT), "psycopg[binary]"),
        program=OURS,
        worker=("{python}", "-m", "django", "runworker"),
        note="default settings",
    ),
    Contestant(
        name="Celery",
        packages=("celery[redis]",),
        program=CELERY.replace("{options}", ""),
        worker=CELERY_WORKER,
        note="default settings",
    ),
    Contestant(
        name="Celery, late",
        packages=("celery[redis]",),
        program=CELERY.replace("{options}", LATE),
        worker=CELERY_WORKER,
        note="`task_acks_late`, `task_reject_on_worker_lost`, `visibility_timeout` of 10 s, which also is the longest"
        " that a job may run before it is given to another worker",
    ),
    Contestant(
        name="RQ",
        packages=("rq",),
        program=RQ.replace("{retry}", ""),
        worker=RQ_WORKER,
        note="default settings",
    ),
    Contestant(
        name="RQ, retried",
        packages=("rq",),
        program=RQ.replace("{retry}", ", retry=Retry(max=3)"),
        worker=RQ_WORKER,
        note="`Retry(max=3)`",
    ),
    Contestant(
        name="Dramatiq",
        packages=("dramatiq[redis]",),
        program=DRAMATIQ,
        worker=("{python}", "-m", "dramatiq", "--processes", "1", "--threads", "1", "app"),
        note="one process and one thread, otherwise default settings",
    ),
]

SETTINGS = """
import os
INSTALLED_APPS = ["django_jobs", "jobs_app"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "postgres", "USER": "postgres",
                         "HOST": "127.0.0.1", "PORT": os.environ["POSTGRES_PORT"]}}
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": os.environ["REDIS"]}}
SECRET_KEY = "only for this"
USE_TZ = True
"""
TASKS = """
from body import body
from django_jobs import task

run = task(timeout=None)(body)
"""


class Scene:
    """One contestant with its servers and two workers, one of which has the job."""

    def __init__(self, contestant: Contestant, case: str, stack: ExitStack):
        self.contestant, self.case = contestant, case
        self._stack = stack
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.starts_at = self.folder / "starts"
        self._redis = stack.enter_context(Valkey()).url
        self._environment = os.environ | {"REDIS": self._redis, "PYTHONPATH": str(self.folder)}
        self._workers: list[subprocess.Popen] = []
        (self.folder / "body.py").write_text(BODY)
        (self.folder / "app.py").write_text(contestant.program)
        if contestant.program is OURS:
            self._prepare_ours()

    def _prepare_ours(self) -> None:
        postgres = self._stack.enter_context(Postgres())
        self._environment |= {"DJANGO_SETTINGS_MODULE": "settings", "POSTGRES_PORT": str(postgres.port)}
        (self.folder / "settings.py").write_text(SETTINGS)
        (self.folder / "jobs_app").mkdir()
        (self.folder / "jobs_app" / "__init__.py").touch()
        (self.folder / "jobs_app" / "tasks.py").write_text(TASKS)
        self._run("-m", "django", "migrate", "-v", "0")

    def _run(self, *words: str) -> None:
        """Run the contestant's python with these words."""
        command = [python_of(self.contestant), *words]
        subprocess.run(command, env=self._environment, cwd=self.folder, check=True)

    def start(self) -> None:
        """Start two workers."""
        names = {"python": python_of(self.contestant), "redis": self._redis}
        for number in range(2):
            words = [word.format(**names) for word in self.contestant.worker]
            with (self.folder / f"worker{number}.log").open("w") as log:
                self._workers.append(
                    subprocess.Popen(
                        words, stdout=log, stderr=log, env=self._environment, cwd=self.folder, start_new_session=True
                    )
                )
            self._stack.callback(kill_all, self._workers[-1].pid)

    def enqueue(self) -> None:
        self._run("app.py", str(self.starts_at))

    def starts(self) -> list[tuple[int, float]]:
        """Return the process and the moment of each start of the body."""
        lines = self.starts_at.read_text().splitlines() if self.starts_at.exists() else []
        return [(int(pid), float(moment)) for pid, moment in map(str.split, lines)]

    def kill(self) -> float:
        """Kill what the case says; return when."""
        [(pid, _)] = self.starts()
        killed = time.time()
        if self.case == "child":
            os.kill(pid, signal.SIGKILL)
        else:
            kill_all(next(worker.pid for worker in self._workers if pid in family(worker.pid)))
        return killed

    def log(self) -> str:
        return "".join(path.read_text()[-2000:] for path in sorted(self.folder.glob("worker*.log")))


def family(pid: int) -> list[int]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return []


def kill_all(pid: int) -> None:
    """Kill a process and all below it, as the end of their machine would."""
    members = family(pid)
    for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that none of them notices
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, number)


def python_of(contestant: Contestant) -> str:
    return str(VENVS / contestant.name.partition(",")[0] / "bin" / "python")


def install(contestant: Contestant) -> None:
    python = Path(python_of(contestant))
    if not python.exists():
        print(f"installing {' '.join(contestant.packages)}", flush=True)
        subprocess.run([sys.executable, "-m", "venv", str(python.parent.parent)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *contestant.packages], check=True)


def version_of(contestant: Contestant) -> str:
    name = contestant.name.partition(",")[0].lower().replace("_", "-")
    command = [python_of(contestant), "-c", f"from importlib.metadata import version; print(version('{name}'))"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(contestants: list[Contestant], seconds: float) -> dict[tuple[str, str], float | None]:
    """Return the seconds from the kill to the next start by contestant and case; None: not within the time."""
    with ExitStack() as stack:
        scenes = [Scene(contestant, case, stack) for contestant in contestants for case in CASES]
        for scene in scenes:
            scene.start()
        time.sleep(STEADY_SECONDS)
        for scene in scenes:
            scene.enqueue()
        wait_for_first_starts(scenes)
        killed = {scene: scene.kill() for scene in scenes}
        end = time.monotonic() + seconds
        while time.monotonic() < end and any(len(scene.starts()) < 2 for scene in scenes):
            time.sleep(0.1)
        return {
            (scene.contestant.name, scene.case): scene.starts()[1][1] - killed[scene]
            if len(scene.starts()) > 1
            else None
            for scene in scenes
        }


def wait_for_first_starts(scenes: list[Scene]) -> None:
    end = time.monotonic() + 60
    while idle := [scene for scene in scenes if not scene.starts()]:
        if time.monotonic() > end:
            raise SystemExit(f"{idle[0].contestant.name} does not run its job:\n{idle[0].log()}")
        time.sleep(0.1)


def table(contestants: list[Contestant], found: dict, seconds: float) -> Iterator[str]:
    """Yield the lines of a table for the docs; in brackets how many times as long as ours it is."""
    yield f"| | {' | '.join(f'killed: {what}' for what in CASES.values())} | run with |"
    yield "| --- | --- | --- | --- |"
    for one in contestants:
        cells = [cell(found[one.name, case], found.get((CONTESTANTS[0].name, case)), seconds) for case in CASES]
        product, _, variant = one.name.partition(", ")
        name = " ".join(filter(None, (product, version_of(one), variant and f"({variant})")))
        yield f"| {name} | {' | '.join(cells)} | {one.note} |"


def cell(took: float | None, ours: float | None, seconds: float) -> str:
    if took is None:
        return f"not within {seconds:g} s" + (f" (over {seconds / ours:.0f} x)" if ours else "")
    return f"{took:.1f} s" + (f" ({took / ours:.1f} x)" if ours and took != ours else "")


def write(lines: list[str]) -> None:
    """Put the table into the page, between its marks."""
    begin, end = "<!-- begin: made by benchmarks/kill.py -->\n", "<!-- end -->"
    head, _, rest = PAGE.read_text().partition(begin)
    _, _, tail = rest.partition(end)
    PAGE.write_text(f"{head}{begin}\n" + "\n".join(lines) + f"\n\n{end}{tail}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180, help="to wait for a job to run again (180)")
    parser.add_argument("--only", help="names, joined by slashes: " + ", ".join(repr(one.name) for one in CONTESTANTS))
    parser.add_argument("--write", action="store_true", help=f"write the table into {PAGE.relative_to(ROOT)}")
    options = parser.parse_args()
    wanted = (options.only or "").split("/") if options.only else []
    chosen = [one for one in CONTESTANTS if not wanted or one.name in wanted]
    for contestant in chosen:
        install(contestant)
    lines = list(table(chosen, measure(chosen, options.seconds), options.seconds))
    print("\n".join(lines))
    if options.write:
        write(lines)


if __name__ == "__main__":
    main()
