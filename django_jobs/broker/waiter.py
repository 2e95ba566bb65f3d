"""Waits for a wake-up from Redis on a connection of its own, together with other file descriptors."""

from __future__ import annotations

from typing import Any, NamedTuple

from redis import Redis
from redis.exceptions import ResponseError


class Wake(NamedTuple):
    """What ended a wait."""

    key: bytes | None  # where the token lay; None: time was up
    answer: Any = None  # to the command that followed, or the ResponseError that it met


class Waiter:
    """A blocking read that can be waited for with ``select``.

    It stays out while the worker does other things, so that nothing has to be cancelled: a token that
    comes while nobody wants it is passed on by the caller.
    """

    def __init__(self, client: Redis, seconds: float):
        self._pool = client.connection_pool
        self._seconds = seconds
        self._connection: Any = None
        self._is_followed = False

    @property
    def armed(self) -> bool:
        return self._connection is not None

    @property
    def followed(self) -> bool:
        """Whether a command is carried out when we are woken."""
        return self.armed and self._is_followed

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
        self._connection, self._is_followed = connection, False

    def follow_with(self, *command: Any) -> None:
        """Let the server carry out a command the moment that it wakes us: its answer needs no way there and back."""
        self._connection.send_command(*command)
        self._is_followed = True

    def fileno(self) -> int:
        return self._connection._sock.fileno()

    def read(self) -> Wake:
        """Read the answer that ``select`` has announced."""
        connection, self._connection = self._connection, None
        try:
            token = connection.read_response()
            answer = _answer(connection) if self._is_followed else None
        except BaseException:
            connection.disconnect()
            raise
        finally:
            self._pool.release(connection)
        return Wake(token[0] if token else None, answer)

    def close(self) -> None:
        """Give up waiting; a token on its way to us is lost, which costs others at most their bound."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except ResponseError as error:
        return error
