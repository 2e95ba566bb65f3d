"""Clients for a Redis cluster: all our keys lie in one slot, so that one connection to one node will do.

django-redis has no client for a cluster. Ours asks any node where the slot is, and stays with the node that
has it until that says otherwise. While a slot is being moved key by key, its commands are refused, and the
workers go on from the database: a script that followed half of its keys would run without the other half.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django_redis.pool import ConnectionFactory
from redis.connection import Connection, ConnectionPool, SSLConnection
from redis.crc import key_slot
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import MovedError, ResponseError, TimeoutError

from ..conf import jobs_settings
from .broker import hash_tag

HOPS = 5  # from node to node until the slot is found

Address = tuple[str, int]


class ClusterConnectionFactory(ConnectionFactory):
    """What CONNECTION_FACTORY in the OPTIONS of a cache names, whose LOCATION is a node of a cluster.

    NODES in OPTIONS names others, as pairs of host and port, to be asked when that one is down.
    """

    def __init__(self, options: dict[str, Any]):
        options.setdefault("CONNECTION_POOL_CLASS", "django_jobs.broker.cluster.ClusterConnectionPool")
        super().__init__(options)
        try:
            self._nodes = [(str(host), int(port)) for host, port in options.get("NODES", ())]
        except (TypeError, ValueError):
            raise ImproperlyConfigured("NODES must be a list of (host, port).") from None

    def get_connection_pool(self, params: dict[str, Any]) -> ConnectionPool:
        home = Home(hash_tag(jobs_settings.PREFIX), self._nodes)
        return super().get_connection_pool({**params, "home": home})


class Home:
    """The node that has our keys, as far as the connections of a pool know."""

    def __init__(self, key: str, nodes: list[Address]):
        self.key = key
        self.slot = key_slot(key.encode())
        self.address: Address | None = None
        self._nodes = nodes

    def candidates(self, given: Address) -> Iterator[Address]:
        """Yield the addresses to try, the likeliest first; ``given``: by the URL."""
        yield from dict.fromkeys([self.address or given, given, *self._nodes])

    def follow(self, moved: MovedError, from_host: str) -> Address:
        """Return where a node says that our slot is."""
        if moved.slot_id != self.slot:
            raise ResponseError(
                f"slot {moved.slot_id} is on another node. An alias with ClusterConnectionFactory is for jobs only, "
                "whose keys lie in one slot: give your cache an alias of its own"
            )
        self.address = moved.host or from_host, moved.port  # no host: the one that was asked
        return self.address


class ClusterConnection(Connection):
    """A connection to the node that has our keys."""

    def __init__(self, *, home: Home, **options: Any):
        super().__init__(**options)
        self._home = home
        self._given = self.host, self.port

    def connect(self) -> None:
        if self._sock:
            return
        error: Exception | None = None
        for address in self._home.candidates(self._given):
            try:
                return self._connect_from(address)
            except (Disconnected, TimeoutError, OSError) as one:
                self.disconnect()
                error = error or one
        raise error

    def _connect_from(self, address: Address) -> None:
        """Connect to a node, and from there to the one that has our keys."""
        for _ in range(HOPS):
            self.host, self.port = address
            self.connect_check_health(retry_socket_connect=False)
            self.send_command("EXISTS", self._home.key)
            try:
                super().read_response()
            except MovedError as moved:
                self.disconnect()
                address = self._home.follow(moved, self.host)
            else:
                self._home.address = address
                return
        raise Disconnected(f"the nodes of the cluster do not agree on who has slot {self._home.slot}")

    def read_response(self, *args: Any, **options: Any) -> Any:
        try:
            return super().read_response(*args, **options)
        except MovedError as moved:
            host, port = self._home.follow(moved, self.host)
            self.disconnect()
            raise Disconnected(f"slot {moved.slot_id} has moved to {host}:{port}") from None


class ClusterSSLConnection(ClusterConnection, SSLConnection):
    """The same by TLS."""


class ClusterConnectionPool(ConnectionPool):
    """Connections that find the right node."""

    def __init__(self, connection_class: type[Connection] = Connection, **options: Any):
        is_ssl = issubclass(connection_class, SSLConnection)
        super().__init__(connection_class=ClusterSSLConnection if is_ssl else ClusterConnection, **options)
