"""Where a child's ids come from, and what a wake-up brings along."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from django_jobs.models import Job, Meta
from django_jobs.worker import source as source_module
from django_jobs.worker.readers import readable
from django_jobs.worker.source import Source
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def rest(source: Source) -> None:
    source.arm()
    source.take_when_woken(10)


@pytest.fixture
def source(redis_clean) -> Iterator[Source]:
    """The source of a child at rest: it has found nothing, and waits for what comes."""
    one = Source("taker:1", ("default",))
    assert one.take(10) == []
    rest(one)
    yield one
    one.leave()


def is_woken(source: Source, *, useful: bool = True) -> bool:
    if not readable([source.waiter], 5):
        return False
    source.woken(useful=useful)
    return True


def enqueue() -> Job:
    return tasks.add.enqueue(1, 1)


def ids_of(count: int) -> list:
    return [enqueue().id for _ in range(count)]


def test_a_wake_up_brings_ids_along(source):
    job = enqueue()

    assert is_woken(source)

    assert source.take(10) == [job.id]
    assert source.take(10) == []  # once


def test_what_was_brought_is_as_good_as_taken(source, redis_clean):
    job = enqueue()
    assert is_woken(source)
    assert source.take(10) == [job.id]

    other = Source("taker:2", ("default",))
    assert other.take(10) == []
    source.leave()  # it was not claimed

    assert other.take(10) == [job.id]
    other.leave()


def test_nothing_is_taken_otherwise_while_a_wake_up_is_to_bring_it(source):
    job = enqueue()

    assert source.take(10) == []

    assert is_woken(source)
    assert source.take(10) == [job.id]


def test_what_was_brought_in_vain_goes_back(source):
    job = enqueue()

    assert is_woken(source, useful=False)  # somebody wants the worker to be quiet, say

    other = Source("taker:2", ("default",))
    other.arm()
    assert readable([other.waiter], 5)
    assert other.take(10) == [job.id]
    other.leave()


def test_it_is_brought_once_for_each_wait(source):
    first = enqueue()
    assert is_woken(source)
    assert source.take(10) == [first.id]
    assert source.take(10) == []
    rest(source)

    second = enqueue()

    assert is_woken(source)
    assert source.take(10) == [second.id]


def test_more_than_was_asked_for_stays(redis_clean):
    source = Source("taker:1", ("default",))
    source.take(1)
    source.arm()
    source.take_when_woken(2)
    with_two, later = ids_of(2), ids_of(3)

    assert is_woken(source)

    brought = source.take(10)
    assert (with_two + later)[: len(brought)] == brought
    assert 1 <= len(brought) <= 2
    assert brought + source.take(10) == with_two + later
    source.leave()


def test_what_does_not_come_any_more_is_taken(source, monkeypatch):
    job = enqueue()
    assert source.take(10) == []
    monkeypatch.setattr(source_module, "WAIT_SECONDS", -source_module.SILENCE_SECONDS)

    assert source.take(10) == [job.id]
    assert not source.waiter.armed


def test_a_server_that_has_forgotten_the_script_brings_nothing(source, redis_clean):
    redis_clean.script_flush()
    job = enqueue()

    assert is_woken(source)

    assert source.take(10) == [job.id]
    assert source.by_redis


def test_a_new_epoch_is_found_by_the_next_take(source, redis_clean):
    source.leave()
    Meta.objects.create(key=Meta.EPOCH, value="1")
    source = Source("taker:1", ("default",))
    source._connected().set_epoch("1")
    assert source.take(10) == []
    rest(source)
    Meta.objects.filter(key=Meta.EPOCH).update(value="2")
    source._connected().set_epoch("2")
    job = enqueue()

    assert is_woken(source)

    assert source.take(10) == [job.id]
    source.leave()


def test_who_was_not_served_by_redis_asks_for_nothing_along(redis_clean):
    Meta.objects.create(key=Meta.EPOCH, value="1")  # and Redis is at none
    source = Source("taker:1", ("default",))
    assert source.take(10) == []

    rest(source)

    assert not source.waiter.followed
    source.leave()


def test_a_wait_that_is_cut_leaves_the_rows_to_be_asked(source, redis_clean):
    for client in redis_clean.client_list(_type="normal"):
        if client["id"] != redis_clean.client_id():
            redis_clean.client_kill_filter(_id=client["id"])
    job = enqueue()

    assert is_woken(source)

    assert not source.by_redis
    assert source.take(10) == [job.id]


def test_redis_may_go_while_queues_are_looked_for(redis_clean, valkey):
    job = enqueue()
    source = Source("taker:1", ())
    assert source.take(10) == [job.id]
    source.arm()
    source._queues_at = 0.0
    valkey.kill()

    source.take_when_woken(10)

    assert not source.by_redis
    assert source.take(10) == [job.id]  # from the rows


def test_redis_may_go_before_what_was_brought_in_vain_is_back(source, valkey):
    job = enqueue()
    assert readable([source.waiter], 5)
    valkey.kill()

    source.woken(useful=False)

    assert not source.by_redis
    assert source.take(10) == [job.id]  # from the rows


def test_a_queue_that_nobody_knew_is_looked_for_when_it_comes_up(redis_clean):
    tasks.add.using(queue_name="default").enqueue(1, 1)
    source = Source("taker:1", ())
    source.take(10)
    source.arm()
    while readable([source.waiter], 0.2):  # tokens that lay there
        source.woken(useful=True)
        source.arm()
    assert source.take(10) == []
    source.take_when_woken(10)

    tasks.add.using(queue_name="mail").enqueue(1, 1)
    assert is_woken(source)

    assert source.queues() == ["default", "mail"]
    assert len(source.take(10)) == 1
    source.leave()
