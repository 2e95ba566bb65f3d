"""Redis under a Sentinel, and Redis as a cluster: reached through the alias, and outlived when they change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import pytest
from redis.exceptions import ConnectionError as Disconnected

from django_jobs import broker
from django_jobs.broker import AWAY, Broker, Waiting
from django_jobs.broker.connection import PRODUCER, connect
from django_jobs.embedded import free_port
from tests.app import tasks
from tests.faults.conftest import enqueue_for, waits_on
from tests.faults.topologies import Cluster, Sentinel, cluster, watched
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

KEY = "{django_jobs:1}"


def use(settings, monkeypatch, location: str, **options: object) -> None:
    """Let this process, and those it starts, go to another Redis."""
    monkeypatch.setenv("DJANGO_JOBS_TEST_REDIS", location)
    monkeypatch.setenv("DJANGO_JOBS_TEST_REDIS_OPTIONS", json.dumps(options))
    cache = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": location, "OPTIONS": options}
    settings.CACHES = {"default": cache}


def eventually(act: Callable[[], object]) -> object:
    """Return what it returns when Redis lets it."""

    def tried() -> tuple | None:
        try:
            return (act(),)
        except AWAY:
            return None

    return wait_for(tried, 30, "an answer")[0]


# Sentinel


@pytest.fixture(scope="module")
def sentinel():
    with watched() as (sentinel, servers):
        sentinel.servers = servers
        yield sentinel


@pytest.fixture
def by_sentinel(redis_clean, sentinel, settings, monkeypatch) -> Sentinel:
    """The Sentinel, named in the settings as django-redis's documentation shows it."""
    use(
        settings,
        monkeypatch,
        "redis://jobs/0",
        CONNECTION_FACTORY="django_redis.pool.SentinelConnectionFactory",
        CLIENT_CLASS="django_redis.client.SentinelClient",
        CONNECTION_POOL_CLASS="redis.sentinel.SentinelConnectionPool",
        SENTINELS=[("127.0.0.1", free_port()), ("127.0.0.1", sentinel.port)],  # the first is down
        SENTINEL_KWARGS={"socket_keepalive": True},
    )
    return sentinel


def test_failovers_one_after_the_other_under_load(by_sentinel, worker, log, all_is_well):
    sentinel = by_sentinel
    running = worker().ready()
    with sentinel.servers[sentinel.primary()].client() as client:
        wait_for(lambda: waits_on(client), 20, "the worker to be fed by the primary")

    for _ in range(2):
        before = sentinel.primary()
        wait_for(sentinel.knows_replica, 30, "a replica that can take over")
        wait_for(sentinel.fail_over, 30, "a failover to begin")
        wait_for(lambda: enqueue_for(0.1) or sentinel.primary() != before, 30, "another primary")  # noqa: B023
    last = sentinel.primary()
    sentinel.servers[last].kill()
    wait_for(lambda: enqueue_for(0.1) or sentinel.primary() != last, 30, "a replica to take over by itself")
    began = time.monotonic()

    with sentinel.servers[sentinel.primary()].client() as client:
        wait_for(lambda: waits_on(client), 30, "the worker to be fed by the new primary")
        print(f"fed by the new primary after {time.monotonic() - began:.1f} s")
        all_is_well(server=client)
    assert running.process.poll() is None


def test_sentinels_that_are_away_keep_nobody_waiting(settings, monkeypatch, by_sentinel):
    client = connect("default", PRODUCER)

    for sentinel in client.connection_pool.sentinel_manager.sentinels:
        waits = sentinel.connection_pool.connection_kwargs
        assert (waits["socket_connect_timeout"], waits["socket_timeout"]) == (0.1, 0.2)
        assert waits["retry"].get_retries() == 0
        assert waits["socket_keepalive"] is True


# Cluster


@pytest.fixture(scope="module")
def nodes():
    with cluster() as nodes:
        yield nodes


@pytest.fixture
def by_cluster(redis_clean, nodes, settings, monkeypatch) -> Cluster:
    """The cluster, by an address of which nobody answers and two others."""
    use(
        settings,
        monkeypatch,
        f"redis://127.0.0.1:{free_port()}/0",
        CONNECTION_FACTORY="django_jobs.broker.ClusterConnectionFactory",
        NODES=[("127.0.0.1", node.port) for node in nodes.nodes],
    )
    eventually(lambda: broker.for_worker().clear())
    return nodes


def test_jobs_run_through_a_cluster_and_outlive_a_slot_that_moves(by_cluster, worker, log, all_is_well):
    running = worker().ready()
    for _ in range(2):
        owner = by_cluster.owner(KEY)
        with owner.client() as client:
            wait_for(lambda: waits_on(client), 20, "the worker to be fed by the slot's node")
        enqueue_for(0.5)
        target = next(node for node in by_cluster.nodes if node is not owner)
        by_cluster.move(KEY, target)
        enqueue_for(0.5)

    with target.client() as client:
        wait_for(lambda: waits_on(client), 20, "the worker to be fed by the slot's new node")
        all_is_well(server=client)
    assert running.process.poll() is None


def test_while_a_slot_is_being_moved_nothing_runs_with_half_of_its_keys(by_cluster):
    owner = by_cluster.owner(KEY)
    target = next(node for node in by_cluster.nodes if node is not owner)
    connected = broker.for_worker()
    connected.push([Waiting("default", 0, "a")])

    with by_cluster.moving(KEY, target):
        with pytest.raises(broker.ResponseError, match=f"{target.port}"):
            connected.push([Waiting("default", 0, "b")])
        with target.client() as client:
            assert client.cluster("COUNTKEYSINSLOT", by_cluster.slot(KEY)) == 0

    eventually(lambda: connected.push([Waiting("default", 0, "b")]))
    assert connected.count("default") == (2, 0, 2)


def test_a_push_finds_the_node_that_a_slot_has_moved_to(by_cluster, patience):
    assert broker.try_push([Waiting("default", 0, "a")])
    target = next(node for node in by_cluster.nodes if node is not by_cluster.owner(KEY))
    by_cluster.move(KEY, target)

    assert broker.try_push([Waiting("default", 0, "b")])  # to the old node, whose answer nobody waits for
    assert broker.try_push([Waiting("default", 0, "c")])

    assert broker.for_worker().count("default") == (3, 0, 3)


def test_every_command_of_the_broker_works_in_a_cluster(by_cluster):
    connected = broker.for_worker()
    connected.set_epoch("1")
    connected.push([Waiting("mail", 0, "a"), Waiting("default", 3, "b")])
    connected.set_paused(["mail"])

    assert connected.take("w:1", ["mail", "default"], 9, "1") == ["b"]
    assert (connected.paused(), connected.queues(), connected.takers()) == ({"mail"}, ["default", "mail"], ["w:1"])
    assert (connected.give_back("w:1"), connected.unknown("mail", ["a", "z"])) == (1, ["z"])
    connected.drop("mail")
    assert connected.count("mail") == (0, 0, 0)
    connected.clear()
    with by_cluster.owner(KEY).client() as client:
        assert client.keys("*") == []


def test_keys_of_others_in_a_cluster_are_refused_with_the_reason(by_cluster):
    client = connect("default", PRODUCER)

    with pytest.raises(broker.ResponseError, match="for jobs only"):
        for name in "abcdef":  # not all of them lie in our node's slots
            client.get(name)


def test_a_cluster_without_any_node_is_a_redis_that_is_away(settings, monkeypatch):
    use(
        settings,
        monkeypatch,
        f"redis://127.0.0.1:{free_port()}/0",
        CONNECTION_FACTORY="django_jobs.broker.ClusterConnectionFactory",
    )

    with pytest.raises(Disconnected):
        broker.for_worker().queues()
    job = tasks.add.enqueue(1, 2)

    assert job.state == "queued"
    assert isinstance(broker.for_worker(), Broker)
