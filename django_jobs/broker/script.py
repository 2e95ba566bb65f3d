"""A Lua script as a function: sent by its hash, and whole when the server does not know it yet."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import NoScriptError


class Script:
    """Runs on a connection of the client's pool; the client itself would take twice as long for all that it offers."""

    def __init__(self, client: Redis, text: str):
        self._pool = client.connection_pool
        self._text = text
        self._hash = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()

    def __call__(self, keys: list[str], args: list[Any]) -> Any:
        """Return what the script returns; raises ``redis.exceptions.RedisError``."""
        connection = self._pool.get_connection()
        try:
            return self._run(connection, keys, args)
        finally:
            self._pool.release(connection)

    def command(self, keys: list[str], args: list[Any]) -> tuple:
        """Return the command that runs the script on a server that knows it."""
        return "EVALSHA", self._hash, len(keys), *keys, *args

    def _run(self, connection: Any, keys: list[str], args: list[Any]) -> Any:
        self._send(connection, keys, args)
        try:
            return connection.read_response()
        except NoScriptError:  # a new server, or SCRIPT FLUSH
            connection.send_command("EVAL", self._text, len(keys), *keys, *args)
            return connection.read_response()

    def _send(self, connection: Any, keys: list[str], args: list[Any]) -> None:
        connection.send_command(*self.command(keys, args))


class HastyScript(Script):
    """Does not wait for the answer: the next run on that connection reads it.

    What is wrong with it is raised there, and what was lost with a connection is sent again. The first run on a
    connection waits: it shows that there is a server, and that it knows the script. The connections never go back
    to the pool, so the client should have one of its own.
    """

    def __init__(self, client: Redis, text: str):
        super().__init__(client, text)
        self._resting: list[tuple[Any, list[Any] | None]] = []  # connections, and what was sent and not answered
        self._lost: list[list[Any]] = []  # to be sent again
        self.refused: list[Any] = []  # the arguments that the server has refused last

    def __call__(self, keys: list[str], args: list[Any]) -> None:
        connection = self._rested()
        self.refused = args
        if connection is None:
            self._resting.append((self._begin(keys, args), None))
            return
        try:
            self._send(connection, keys, args)
        except BaseException:
            self._give_up(connection)
            raise
        self._resting.append((connection, args))

    def _begin(self, keys: list[str], args: list[Any]) -> Any:
        """Run on another connection, and return it."""
        connection = self._pool.get_connection()
        try:
            self._send_lost_again(connection, keys)
            self._run(connection, keys, args)
        except BaseException:
            self._give_up(connection)
            raise
        return connection

    def _send_lost_again(self, connection: Any, keys: list[str]) -> None:
        with suppress(IndexError):  # other threads may have taken the last one
            while True:
                lost = self._lost.pop()
                try:
                    self._run(connection, keys, lost)
                except BaseException:
                    self._lost.append(lost)
                    raise

    def _rested(self) -> Any:
        """Return a connection that has answered and was not cut, if there is one."""
        with suppress(IndexError):  # other threads have them all
            while True:
                connection, unanswered = self._resting.pop()
                if self._has_answered(connection, unanswered) and not _is_cut(connection):
                    return connection
                self._give_up(connection)
        return None

    def _has_answered(self, connection: Any, unanswered: list[Any] | None) -> bool:
        try:
            if unanswered is not None:
                connection.read_response()
            return True
        except (Disconnected, NoScriptError):
            self._lost.append(unanswered)
            return False
        except BaseException:
            self.refused = unanswered
            self._give_up(connection)
            raise

    def _give_up(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)


def _is_cut(connection: Any) -> bool:
    """Say whether the server has closed a connection that owes us nothing."""
    try:
        return connection.can_read()
    except (Disconnected, OSError):
        return True
