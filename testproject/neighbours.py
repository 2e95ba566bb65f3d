"""The servers that the demo site talks to: one for mail, and a partner's web site that is sometimes busy."""

import csv
import html
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox

HOST = "127.0.0.1"
BUSY_EVERY = 4  # one page in so many is answered with 503 at first
GONE = {"TXL"}  # Berlin-Tegel closed in 2020

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{name} ({iata})</title></head>
<body><h1>{name}</h1><p>{city}, {country}. {lat}, {lon}, {elevation} ft. Time zone {tz}.</p></body></html>
"""


@contextmanager
def smtp_server(mailbox: Path) -> Iterator[int]:
    """Run an SMTP server that keeps its mail in a maildir; give its port."""
    controller = AnyPortController(Mailbox(mailbox), hostname=HOST, port=0)
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()


class AnyPortController(Controller):
    """A Controller that takes a free port and knows which."""

    def _trigger_server(self) -> None:
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def partner_site(airports_csv: Path) -> Iterator[str]:
    """Run a web site with a page on each airport; give its address."""
    server = PartnerServer((HOST, 0), PartnerHandler)
    server.pages = airport_pages(airports_csv)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://{HOST}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def airport_pages(airports_csv: Path) -> dict[str, bytes]:
    with airports_csv.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["iata"] and row["iata"] not in GONE]
    return {row["iata"]: page(row) for row in rows}


def page(row: dict[str, str]) -> bytes:
    return PAGE.format_map({name: html.escape(value) for name, value in row.items()}).encode()


class PartnerServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    pages: dict[str, bytes]

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.visits = Counter()
        self.lock = threading.Lock()

    def is_busy(self, code: str) -> bool:
        """Tell whether to turn this visit away: one page in four is busy once, one in sixteen twice."""
        number = sum(map(ord, code))
        turned_away = 2 if number % BUSY_EVERY**2 == 0 else 1 if number % BUSY_EVERY == 0 else 0
        with self.lock:
            visit = self.visits[code]
            self.visits[code] += 1
        return visit % (turned_away + 1) < turned_away


class PartnerHandler(BaseHTTPRequestHandler):
    server: PartnerServer

    def do_GET(self) -> None:
        found = re.fullmatch(r"/airports/([A-Z]{3})", self.path)
        page = found and self.server.pages.get(found[1])
        if page is None:
            self.send_error(HTTPStatus.NOT_FOUND)
        elif self.server.is_busy(found[1]):
            self.send_error(HTTPStatus.SERVICE_UNAVAILABLE)
        else:
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(page)))
            self.end_headers()
            self.wfile.write(page)

    def log_message(self, *arguments) -> None:
        """Keep silent."""
