"""Follows the tutorial as a reader would: types its commands, writes its files, presses its button.

Left out is what makes the environment, since the tests have one: the virtual environment and pip.
"""

from __future__ import annotations

import contextlib
import html
import http.cookiejar
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from django_jobs import embedded

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ("python3 -m venv ", ". venv/", "python -m pip ")  # commands that make one
SERVERS = ("python manage.py runworker", "python manage.py runserver")  # commands that stay
READERS_OWN = ("laptop", "/home/me/tutorial")  # in the outputs shown
SECONDS = 30  # for anything that is waited for
PASSWORD = "only-for-the-tutorial"

DOCTEST = """
import doctest, pathlib, sys
test = doctest.DocTestParser().get_doctest(pathlib.Path({path!r}).read_text(), {{}}, "tutorial", None, 0)
sys.exit(doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed > 0)
"""


@dataclass(frozen=True, kw_only=True)
class Fence:
    """A block of code on a page."""

    language: str
    caption: str
    text: str


def fences(text: str) -> Iterator[Fence]:
    """Yield the blocks of code of a page in Markdown."""
    pattern = r"^```(?:\{code-block\} )?(\w*)\n((?::\w+:[^\n]*\n)*)\n?(.*?)^```$"
    for found in re.finditer(pattern, text, re.MULTILINE | re.DOTALL):
        caption = re.search(r":caption: (.*)", found[2])
        yield Fence(language=found[1], caption=caption[1] if caption else "", text=found[3])


def follow(text: str, folder: Path) -> None:
    """Do all that the tutorial says, in an empty folder; raise AssertionError where it is not as it says."""
    with contextlib.ExitStack() as stack:
        reader = Reader(folder=folder, stack=stack)
        for fence in fences(text):
            reader.read(fence)
        reader.leave_shell()
    reader.compare_servers()


@dataclass(kw_only=True)
class Reader:
    """Somebody who does what is written."""

    folder: Path
    stack: contextlib.ExitStack  # what is to be stopped at the end
    session: str = ""  # what was typed into the shell so far
    expected: dict[str, list[str]] = field(default_factory=dict)  # command of a server -> lines it should have shown
    logs: dict[str, Path] = field(default_factory=dict)

    def read(self, fence: Fence) -> None:
        if fence.language == "pycon":
            self.session += fence.text
            return
        if fence.language == "text":
            self.expected[SERVERS[0]] += fence.text.splitlines()
            return
        self.leave_shell()
        if fence.language == "console":
            for command, output in commands(fence.text):
                self.type(command, output)
        elif fence.caption:
            self.write(fence)

    def leave_shell(self) -> None:
        """Check what the shell answered to all that was typed since it was opened."""
        if self.session:
            session = self.folder.parent / f"{self.folder.name}.session"
            session.write_text(self.session)
            self.run(["python", "manage.py", "shell", "-v0", "-c", DOCTEST.format(path=str(session))])
            self.session = ""

    def write(self, fence: Fence) -> None:
        name, _, at_the_end = fence.caption.partition(" ")
        with open(self.folder / name, "a" if at_the_end else "w") as file:
            file.write(fence.text)

    def type(self, command: str, output: list[str]) -> None:
        match command.split():
            case ["cd", folder]:
                self.folder = self.folder / folder
            case _ if command.startswith(ENVIRONMENT) or command == "python manage.py shell":
                pass
            case [*words] if command in SERVERS:
                self.start(command, words, output)
            case [*words, "createsuperuser", _, _, _, _] if words:
                self.run([*command.split(), "--noinput"])
            case words:
                compare(output, self.run(words))
        if command == SERVERS[1]:
            retry_in_admin(self.address)

    def run(self, words: list[str]) -> str:
        done = subprocess.run(
            words, cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done.stdout

    def start(self, command: str, words: list[str], output: list[str]) -> None:
        if command == SERVERS[1]:
            port = embedded.free_port()
            words = [*words, str(port), "--noreload"]
            self.address = f"http://127.0.0.1:{port}"
        else:
            self.stack.callback(embedded.stop, self.folder)
        log = self.logs[command] = self.folder.parent / f"{words[2]}.log"
        with log.open("w") as file:
            process = subprocess.Popen(
                words,
                cwd=self.folder,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        self.stack.callback(stop, process)
        self.expected[command] = output
        wait_for(lambda: all(re.search(f"^{pattern(line)}", log.read_text(), re.MULTILINE) for line in output))

    def compare_servers(self) -> None:
        for command, lines in self.expected.items():
            compare(lines, self.logs[command].read_text())


def environment() -> dict[str, str]:
    """Return the tests' environment without what leads to the tests' own project and servers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DJANGO_") and name != "REDIS_URL"}
    path = os.pathsep.join((str(Path(sys.executable).parent), kept.get("PATH", os.defpath)))
    return kept | {"PATH": path, "PYTHONPATH": str(ROOT), "DJANGO_SUPERUSER_PASSWORD": PASSWORD}


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield each command of a block, with the lines that it is said to print."""
    for part in re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]:
        command, *output = part.rstrip("\n").split("\n")
        yield command, output


def compare(expected: list[str], output: str) -> None:
    """Look for the lines, in their order; numbers may differ, and ... stands for anything."""
    rest = output
    for line in expected:
        found = re.search(f"^{pattern(line)}", rest, re.MULTILINE)
        assert found, f"there is no line {line!r} in:\n{rest}"
        rest = rest[found.end() :]


def pattern(line: str) -> str:
    for own in READERS_OWN:
        line = line.replace(own, "...")
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "...", line)
    text = re.escape(text).replace(re.escape("..."), ".*")
    text = re.sub(r"\d+(\\\.\d+)?\\ (ms|s)\b", r"[\\d.]+\\ (ms|s)", text)
    return re.sub(r"(?<![\\\w])\d+(?!\w)", r"\\d+", text)


def stop(process: subprocess.Popen) -> None:
    """Press Ctrl+C, and insist if that does not help."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


# The browser


def retry_in_admin(address: str) -> None:
    """Log in, look at the failed job, and press Retry."""
    browser = Browser(address)
    browser.submit("/admin/login/?next=/admin/", username="admin", password=PASSWORD)
    front = browser.open("/admin/")
    assert "Background jobs" in front
    page = browser.open(link(front, ">Jobs<"))
    assert "convert(" in page and "FileNotFoundError" in page
    page = browser.open(address_of_job := link(page, "convert("))
    assert "Attempt 1" in page and "Attempt 2" in page and "Traceback" in page
    [retry] = re.findall(r'<form[^>]*action="([^"]*)"[^>]*>(?:(?!</form>).)*>\s*Retry now\s*</button>', page, re.DOTALL)
    browser.submit(html.unescape(retry), form_on=address_of_job)
    wait_for(lambda: "9.2000" in browser.open(address_of_job))


def link(page: str, text: str) -> str:
    """Return where the link leads that has this text in it."""
    [place, *_] = [one for one in re.finditer(r'<a [^>]*?href="([^"]+)".*?</a>', page, re.DOTALL) if text in one[0]]
    return html.unescape(place[1])


class Browser:
    """Just enough of one: cookies, and forms with their token."""

    def __init__(self, address: str):
        self._address = address
        self._cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._cookies))
        wait_for(lambda: self._answers())

    def _answers(self) -> bool:
        try:
            return bool(self.open("/admin/login/"))
        except urllib.error.HTTPError:
            raise
        except OSError:
            return False

    def open(self, path: str, data: bytes | None = None) -> str:
        url = urllib.parse.urljoin(self._address, path)
        with self._opener.open(urllib.request.Request(url, data), timeout=SECONDS) as response:
            return response.read().decode()

    def submit(self, path: str, *, form_on: str | None = None, **values: str) -> str:
        page = self.open(form_on or path)
        [token, *_] = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)"', page)
        return self.open(path, urllib.parse.urlencode({"csrfmiddlewaretoken": token, **values}).encode())


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come"
        time.sleep(0.1)
