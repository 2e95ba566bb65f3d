"""A Lua script as a function: sent by its hash, and whole when the server does not know it yet."""

from __future__ import annotations

import hashlib
from typing import Any

from redis import Redis
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
            connection.send_command("EVALSHA", self._hash, len(keys), *keys, *args)
            return connection.read_response()
        except NoScriptError:  # a new server, or SCRIPT FLUSH
            connection.send_command("EVAL", self._text, len(keys), *keys, *args)
            return connection.read_response()
        finally:
            self._pool.release(connection)
