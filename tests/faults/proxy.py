"""A TCP proxy that does to connections what networks do: cuts, refuses and delays them, and loses replies."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import Self

SIZE = 65536  # bytes read at a time


class Proxy:
    """Passes on what comes to its port, and does harm when told to.

    ``with Proxy("127.0.0.1", 6379) as proxy``: clients connect to ``proxy.port``.
    """

    def __init__(self, host: str, port: int, *, at: int = 0):
        self._target = host, port
        self._at = at
        self._lock = threading.Lock()
        self._connections: set[_Connection] = set()
        self._listener: socket.socket | None = None
        self._losses: list[_Loss] = []
        self.connections = 0  # that there have been
        self.delay = 0.0  # seconds that each reply is kept
        self.port = 0

    def __enter__(self) -> Self:
        self.accept()
        return self

    def __exit__(self, *error: object) -> None:
        self.refuse()

    def accept(self) -> None:
        """Listen, on the port it had before."""
        self._listener = socket.create_server(("127.0.0.1", self.port or self._at))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._serve, args=(self._listener,), daemon=True).start()

    def refuse(self) -> None:
        """Refuse new connections and cut the others."""
        listener, self._listener = self._listener, None
        if listener:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # or a thread that accepts goes on doing so
            listener.close()
        self.cut()

    def cut(self) -> int:
        """Cut all connections; return how many."""
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            connection.cut()
        return len(connections)

    def lose_replies(self, request: bytes, *, after: bytes = b"", count: int = 1) -> threading.Event:
        """Pass requests with these bytes on, swallow the replies and cut their connections; so often.

        ``after``: only where the connection's request before it had those bytes. The event is set when the
        last reply is lost.
        """
        loss = _Loss(request, after, count)
        self._losses.append(loss)
        return loss.over

    def _serve(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                self.connections += 1
                connection = _Connection(self, client, server)
                with self._lock:
                    self._connections.add(connection)
                connection.start()

    def _loss(self, request: bytes, before: bytes) -> _Loss | None:
        """Return what says that the reply to this request gets lost."""
        with self._lock:
            return next((loss for loss in self._losses if loss.befalls(request, before)), None)

    def _forget(self, connection: _Connection) -> None:
        with self._lock:
            self._connections.discard(connection)


class _Loss:
    """Replies that get lost: those to requests that hold some bytes."""

    def __init__(self, request: bytes, after: bytes, count: int):
        self._request = request
        self._after = after
        self._count = count
        self.over = threading.Event()

    def befalls(self, request: bytes, before: bytes) -> bool:
        if not self._count or self._request not in request or self._after not in before:
            return False
        self._count -= 1
        return True

    def has_happened(self) -> None:
        if not self._count:
            self.over.set()


class _Connection:
    """A client and the server, with a thread for each direction."""

    def __init__(self, proxy: Proxy, client: socket.socket, server: socket.socket):
        self._proxy = proxy
        self._client = client
        self._server = server
        self._loss: _Loss | None = None

    def start(self) -> None:
        for pass_on in (self._pass_requests, self._pass_replies):
            threading.Thread(target=self._until_cut, args=(pass_on,), daemon=True).start()

    def cut(self) -> None:
        for one in (self._client, self._server):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _until_cut(self, pass_on) -> None:
        with contextlib.suppress(OSError):
            pass_on()
        self.cut()
        self._proxy._forget(self)

    def _pass_requests(self) -> None:
        before = b""
        while data := self._client.recv(SIZE):
            self._loss = self._loss or self._proxy._loss(data, before)
            self._server.sendall(data)
            before = data

    def _pass_replies(self) -> None:
        while data := self._server.recv(SIZE):
            if self._loss:
                self._loss.has_happened()
                return
            time.sleep(self._proxy.delay)
            self._client.sendall(data)
