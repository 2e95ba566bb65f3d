"""The demo, run as people run it: in a checkout of its own, with an almost empty environment."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from django_jobs.embedded import free_port

ROOT = Path(__file__).resolve().parent.parent
MARK = "DJANGO_JOBS_TEST_DEMO"  # by this variable the processes of a demo are known
LIMIT_SECONDS = 150
LINES = [
    "airports imported",
    "thumbnails made",
    "postcards sent",
    "mails received",
    "pages fetched",
    "failed as it should",
    "reports written",
    "jobs succeeded",
]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what the demo is made of."""
    folder = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("var", "__pycache__", ".django_jobs")
    for name in ("django_jobs", "testproject"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_the_demo_does_its_work_once_and_leaves_nothing_behind(checkout, home):
    before = files_of(checkout)

    with demo(checkout, home, "--once") as (process, mark):
        output, _ = process.communicate(timeout=LIMIT_SECONDS)
        keep_download(checkout)

    assert process.returncode == 0, output
    assert re.findall(r"^  ok  (.+?)  ", output, re.MULTILINE) == LINES, output
    assert "  --  " not in output
    assert running(mark) == []
    assert files_of(checkout) == before
    assert [path.name for path in home.iterdir() if path.name != ".rustup"] == []  # that is pip's rustc


def test_the_demo_stays_until_it_is_stopped_and_can_be_started_again(checkout, home):
    for number in (signal.SIGINT, signal.SIGTERM):
        with demo(checkout, home) as (process, mark):
            address = read_until(process, r"The site +(http\S+)")
            with urllib.request.urlopen(address, timeout=30) as page:
                assert b"Import the sample" in page.read()
            read_until(process, "(ready) in")  # says the worker
            assert len(running(mark)) >= 4  # the demo, its site, its worker, its Valkey

            process.send_signal(number)
            output, _ = process.communicate(timeout=60)

        keep_download(checkout)
        assert process.returncode == 0, output
        assert running(mark) == []


@contextmanager
def demo(checkout: Path, home: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen, str]]:
    """Start the demo; kill what is left of it at the end of the block, however that comes."""
    mark = uuid.uuid4().hex
    kept = {name: value for name, value in os.environ.items() if name == "PATH" or name.startswith("PIP_")}
    process = subprocess.Popen(
        [sys.executable, str(checkout / "testproject" / "demo.py"), "--port", str(free_port()), *arguments],
        env=kept | {"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1", MARK: mark},
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process, mark
    finally:
        if process.poll() is None:
            for left in running(mark):
                left.kill()
        process.stdout.close()
        process.wait()


def running(mark: str) -> list[psutil.Process]:
    """Return the processes that a demo has started, itself included."""
    return [process for process in psutil.process_iter() if environment(process).get(MARK) == mark]


def environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except psutil.Error:  # gone meanwhile, or another user's
        return {}


def read_until(process: subprocess.Popen, pattern: str) -> str:
    """Read what the demo says until a line matches, and return the group."""
    deadline = time.monotonic() + LIMIT_SECONDS
    said = ""
    while time.monotonic() < deadline and (line := process.stdout.readline()):
        said += line
        if found := re.search(pattern, line):
            return found[1]
    raise AssertionError(f"no {pattern} in:\n{said}")


def files_of(checkout: Path) -> set[Path]:
    """Return the files of a checkout but those in the two folders that the demo may write to."""
    ours = checkout / "testproject"
    return {
        path
        for path in checkout.rglob("*")
        if not path.is_relative_to(ours / "var") and not path.is_relative_to(ours / "downloads")
    }


def keep_download(checkout: Path) -> None:
    """Keep what the demo has downloaded for the next test run."""
    for wheel in (checkout / "testproject" / "downloads").glob("*.whl"):
        kept = ROOT / "testproject" / "downloads" / wheel.name
        if not kept.exists():
            kept.parent.mkdir(exist_ok=True)
            shutil.copy(wheel, kept)
