"""Waits for a wake-up from Redis on a connection of its own, together with other file descriptors."""

from __future__ import annotations

from typing import Any

from redis import Redis


class Waiter:
    """A blocking read that can be waited for with ``select``.

    It stays out while the worker does other things, so that nothing has to be cancelled: a token that
    comes while nobody wants it is passed on by the caller.
    """

    def __init__(self, client: Redis, seconds: float):
        self._pool = client.connection_pool
        self._seconds = seconds
        self._connection: Any = None

    @property
    def armed(self) -> bool:
        return self._connection is not None

    def arm(self, keys: list[str]) -> None:
        """Ask to be woken by a token under one of these keys, or after the bound of seconds; of others no more."""
        self.close()
        connection = self._pool.get_connection()
        try:
            connection.send_command("BLPOP", *keys, self._seconds)
        except BaseException:
            connection.disconnect()
            self._pool.release(connection)
            raise
        self._connection = connection

    def fileno(self) -> int:
        return self._connection._sock.fileno()

    def read(self) -> bytes | None:
        """Read the answer that ``select`` has announced: the key that woke us, or None when time was up."""
        connection, self._connection = self._connection, None
        try:
            answer = connection.read_response()
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
        return answer[0] if answer else None

    def close(self) -> None:
        """Give up waiting; a token on its way to us is lost, which costs others at most their bound."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None
