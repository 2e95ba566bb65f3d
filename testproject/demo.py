#!/usr/bin/env python
"""Runs the demo site and all that it needs (``make demo``), or does its work once (``make demo ONCE=1``).

A mail server and a partner's web site run in this process; a worker, the site and an embedded Valkey beside
it. However this ends, all of them are stopped. Everything is written into ``testproject/var``, except one
download, which is kept in ``testproject/downloads``.
"""

import argparse
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(1, str(HERE.parent))  # the django_jobs of this checkout

import neighbours  # noqa: E402  needs the path

from django_jobs import embedded  # noqa: E402  needs the path

HOST = "127.0.0.1"
START_SECONDS = 30  # for the site to answer
WORK_SECONDS = 120  # for everything that --once asks for
STOP_SECONDS = 30  # for a process to end; a worker lets running jobs end first
POLL_SECONDS = 0.1


class DemoFailed(Exception):
    """The demo cannot go on; the message says why."""


class Stopped(BaseException):
    """A signal asked the demo to end."""


def main() -> int:
    options = parse_arguments()
    var = HERE / "var" / ("once" if options.once else "demo")
    sys.stdout.reconfigure(line_buffering=True)  # in order with what the worker says, also in a pipe
    signals.watch()
    try:
        with locked(var), running(var, options) as demo:
            return do_once(demo) if options.once else stay(demo)
    except DemoFailed as error:
        print(f"\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except Stopped:
        print("\nStopped; nothing is left running.")
        return 128 + signals.received if options.once else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Run the demo site of django_jobs.")
    parser.add_argument("--once", action="store_true", help="do all the work, print what was done, end")
    parser.add_argument("--keep", action="store_true", help="go on with the data of the last time")
    parser.add_argument("--port", type=int, help="of the site; 8000 if that is free")
    return parser.parse_args()


# Starting and stopping


@dataclass(frozen=True, kw_only=True)
class Demo:
    """What is running."""

    var: Path
    url: str
    stack: ExitStack  # what to do at the end
    processes: list["Process"] = field(default_factory=list)

    def start(self, name: str, *command: str, log: Path | None) -> None:
        """Start a command of manage.py, to be stopped at the end; without a log it speaks on the terminal."""
        with signals.held():
            process = Process(name, command, log)
            self.stack.callback(process.stop)
        self.processes.append(process)

    def check(self) -> None:
        """Raise DemoFailed if a process has ended by itself."""
        for process in self.processes:
            process.check()


@contextmanager
def running(var: Path, options: argparse.Namespace) -> Iterator[Demo]:
    """Start everything but the worker, on an empty folder; stop it all at the end."""
    with ExitStack() as stack, signals.held_at_the_end():
        make_folder(var, keep=options.keep)
        sample = Path(str(files("airportsdata") / "airports.csv"))
        smtp_port = stack.enter_context(neighbours.smtp_server(var / "mailbox"))
        partner_url = stack.enter_context(neighbours.partner_site(sample))
        set_environment(var, EMAIL_HOST=HOST, EMAIL_PORT=str(smtp_port), PARTNER_URL=partner_url)
        stack.callback(embedded.stop, var)
        prepare_database(report_every=timedelta(seconds=2 if options.once else 10))
        port = options.port or free_port(preferred=8000)
        demo = Demo(var=var, url=f"http://{HOST}:{port}/", stack=stack)
        demo.start("site", "runserver", "--noreload", f"{HOST}:{port}", log=var / "site.log")
        wait_until(lambda: answers(port), demo, START_SECONDS, "the site to answer")
        yield demo


@contextmanager
def locked(var: Path) -> Iterator[None]:
    """Refuse to run twice in one folder."""
    var.parent.mkdir(parents=True, exist_ok=True)
    with var.with_suffix(".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DemoFailed(f"another one runs in {var}. Stop it first.") from None
        yield


def make_folder(var: Path, *, keep: bool) -> None:
    embedded.stop(var)  # one may be left from a demo that was killed
    if not keep:
        shutil.rmtree(var, ignore_errors=True)
    (var / "tmp").mkdir(parents=True, exist_ok=True)


def set_environment(var: Path, **variables: str) -> None:
    """Tell Django, here and in the processes to be started, where everything is."""
    os.environ.update(variables, DJANGO_SETTINGS_MODULE="testproject.settings", DEMO_VAR=str(var))
    os.environ.update(PYTHONUNBUFFERED="1", TMPDIR=str(var / "tmp"))
    tempfile.tempdir = None  # forget the folder chosen before


def prepare_database(report_every: timedelta) -> None:
    import django  # here: the environment must be set before

    django.setup()
    from atlas import inputs  # here: needs the apps
    from django.core.management import call_command
    from django.db import connections

    call_command("migrate", verbosity=0)
    try:
        inputs.load(report_every)
    except subprocess.CalledProcessError as error:
        raise DemoFailed("pip could not download the photographs (see above).") from error
    connections.close_all()  # nothing of it goes into the processes started next


def free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return probe.getsockname()[1]
    raise DemoFailed("there is no free port.")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


class Process:
    """A command of manage.py in a process group of its own, so that Ctrl+C reaches only us."""

    def __init__(self, name: str, command: tuple[str, ...], log: Path | None):
        self.name = name
        self.log = log
        with log.open("w") if log else nullcontext() as output:
            self.popen = subprocess.Popen(
                [sys.executable, str(HERE / "manage.py"), *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output and subprocess.STDOUT,
                start_new_session=True,
            )

    def check(self) -> None:
        """Raise DemoFailed if it has ended by itself."""
        if self.popen.poll() is not None:
            words = f" Its last words:\n{last_lines(self.log)}" if self.log else ""
            raise DemoFailed(f"the {self.name} ended by itself, with code {self.popen.returncode}.{words}")

    def stop(self) -> None:
        """End it in good order, or else by force; return when nothing of it is left."""
        self.popen.terminate()
        try:
            self.popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            print(f"The {self.name} did not end within {STOP_SECONDS} s and is killed.", file=sys.stderr)
        while kill_group(self.popen.pid):
            self.popen.poll()
            time.sleep(POLL_SECONDS)


def kill_group(pid: int) -> bool:
    """Kill what is left of a process group, and tell whether there was something."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def last_lines(path: Path, count: int = 20) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:])


def wait_until(condition: Callable[[], bool], demo: Demo, seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        demo.check()
        if time.monotonic() > deadline:
            raise DemoFailed(f"waited {seconds} s for {what}.")
        time.sleep(POLL_SECONDS)


class Signals:
    """Turns the first signal that asks a program to end into Stopped, wherever that may be raised."""

    def __init__(self):
        self.received = 0
        self.holding = False

    def watch(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self.receive)

    def receive(self, number: int, _frame: object) -> None:
        if not self.received:
            self.received = number
            if not self.holding:
                raise Stopped

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no signal come between the start of a process and the note that it must be stopped."""
        self.holding = True
        try:
            yield
        finally:
            self.holding = False
        if self.received:
            raise Stopped

    @contextmanager
    def held_at_the_end(self) -> Iterator[None]:
        """Let no signal disturb what comes after this block: the stopping."""
        try:
            yield
        finally:
            self.holding = True


signals = Signals()


# make demo


def stay(demo: Demo) -> int:
    print(f"""
  The site       {demo.url}
  The admin      {demo.url}admin/   user admin, password admin

  Press "Import the sample" and watch the progress, or "Fetch pages" and see retries; one page
  fails, since it does not exist: retry it in the admin, where all jobs and schedules are.
  Ctrl+C stops everything. Now the worker starts; below is what it says.
""")
    demo.start("worker", "runworker", log=None)
    while True:
        demo.check()
        time.sleep(POLL_SECONDS)


# make demo ONCE=1


def do_once(demo: Demo) -> int:
    import once  # here: it needs the apps

    start = time.monotonic()
    reasons = []
    demo.start("worker", "runworker", log=demo.var / "worker.log")
    once.press_buttons(demo.url)
    try:
        wait_until(once.is_done, demo, WORK_SECONDS, "the work to be done")
    except DemoFailed as error:
        reasons.append(str(error))
    lines = once.summary()
    once.print_table(lines, time.monotonic() - start)
    reasons += [line.reason for line in lines if not line.is_good]
    if reasons:
        raise DemoFailed("\n  ".join(reasons))
    return 0


if __name__ == "__main__":
    sys.exit(main())
