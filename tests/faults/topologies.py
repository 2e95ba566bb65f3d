"""Several Valkeys that belong together: a primary with a replica under Sentinels, and a cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import redis
from redis.crc import key_slot
from redis.exceptions import ResponseError

from django_jobs.embedded import free_port, server_binary
from tests.services import Valkey, wait_for

SLOTS = 16384


class Sentinel(Valkey):
    """Watches a primary named "jobs" and replaces it when it is gone."""

    quorum = 1  # a single Sentinel decides: the tests are about what clients live through

    def __init__(self, primary: Valkey):
        super().__init__()
        self._primary = primary

    def _launch(self) -> None:
        configuration = self.folder / "sentinel.conf"
        configuration.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor jobs 127.0.0.1 {self._primary.port} {self.quorum}\n"
            "sentinel down-after-milliseconds jobs 2000\n"
            "sentinel failover-timeout jobs 2000\n"
        )
        self._run([server_binary(), str(configuration), "--sentinel"])

    def primary(self) -> int:
        """Return the port of the present primary."""
        with self.client() as client:
            return int(client.sentinel_get_master_addr_by_name("jobs")[1])

    def hurry(self) -> None:
        """Look at the servers several times a second, not every ten seconds."""
        with self.client() as client:
            client.execute_command("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PING-PERIOD", 200)

    def fail_over(self) -> bool:
        """Let the replica and the primary change places; False if that cannot be done just now."""
        with self.client() as client:
            try:
                return bool(client.execute_command("SENTINEL", "FAILOVER", "jobs"))
            except ResponseError:
                return False

    def knows_replica(self) -> bool:
        """Say whether there is a replica that could take the primary's place."""
        with self.client() as client:
            replicas = client.sentinel_slaves("jobs")
        return any(
            replica["master-link-status"] == "ok" and not replica["is_sdown"] and replica["port"] != self.primary()
            for replica in replicas
        )


@contextlib.contextmanager
def watched() -> Iterator[tuple[Sentinel, dict[int, Valkey]]]:
    """Start a primary, a replica and a Sentinel; give the latter, and the servers by port."""
    with contextlib.ExitStack() as stack:
        at_once = ["--repl-diskless-sync-delay", "0"]
        primary = stack.enter_context(Valkey(*at_once))
        replica = stack.enter_context(Valkey(*at_once, "--replicaof", f"127.0.0.1 {primary.port}"))
        sentinel = stack.enter_context(Sentinel(primary))
        sentinel.hurry()
        wait_for(sentinel.knows_replica, 30, "the replica to be known")
        yield sentinel, {server.port: server for server in (primary, replica)}


class Node(Valkey):
    """A node of a cluster."""

    def __init__(self) -> None:
        self.bus = free_port()
        options = {"enabled": "yes", "port": self.bus, "node-timeout": 2000}
        super().__init__(*(text for name, value in options.items() for text in (f"--cluster-{name}", str(value))))

    def is_content(self) -> bool:
        """Say whether it sees the whole cluster."""
        with self.client() as client:
            return client.cluster("INFO")["cluster_state"] == "ok"


class Cluster:
    """Three primaries, each with a third of the slots."""

    def __init__(self, nodes: list[Node]):
        self.nodes = nodes

    def owner(self, key: str) -> Node:
        """Return the node that has the key's slot."""
        for node in self.nodes:
            with node.client() as client, contextlib.suppress(redis.ResponseError):
                client.exists(key)
                return node
        raise AssertionError("no node has it")

    def slot(self, key: str) -> int:
        return key_slot(key.encode())

    def move(self, key: str, to: Node) -> None:
        """Move the slot of a key, with all that is in it, as resharding does."""
        with self.moving(key, to):
            pass

    @contextlib.contextmanager
    def moving(self, key: str, to: Node) -> Iterator[None]:
        """Move the slot of a key; inside, nothing of it has been moved yet."""
        slot, source = self.slot(key), self.owner(key)
        with source.client() as old, to.client() as new:
            old_id, new_id = (client.cluster("MYID").decode() for client in (old, new))
            new.cluster("SETSLOT", slot, "IMPORTING", old_id)
            old.cluster("SETSLOT", slot, "MIGRATING", new_id)
            yield
            while keys := old.cluster("GETKEYSINSLOT", slot, 100):
                old.migrate("127.0.0.1", to.port, keys, 0, 5000)
            for client in (new, old):
                client.cluster("SETSLOT", slot, "NODE", new_id)


@contextlib.contextmanager
def cluster() -> Iterator[Cluster]:
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(Node()) for _ in range(3)]
        for number, node in enumerate(nodes):
            with node.client() as client:
                client.cluster("ADDSLOTSRANGE", SLOTS * number // 3, SLOTS * (number + 1) // 3 - 1)
                for other in nodes[:number]:
                    client.cluster("MEET", "127.0.0.1", other.port, other.bus)
        wait_for(lambda: all(node.is_content() for node in nodes), 30, "the cluster to be whole")
        yield Cluster(nodes)
