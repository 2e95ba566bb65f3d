"""The broker: ids wait in order, once each, and what is damaged is found and forgotten."""

from __future__ import annotations

import os
import select
import threading

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.exceptions import NoScriptError

from django_jobs.broker import Broker, Count, EpochChanged, ResponseError, Waiting
from tests.services import wait_for

STRANGE = ["a*", "a?", "[ab]", "a\\", "{a}", "a:1", "^a", "a-z]", "ä b"]


@pytest.fixture
def broker(redis_clean):
    return Broker(redis_clean, "django_jobs")


def push(broker: Broker, *ids: str, queue: str = "mail", rank: int = 0) -> int:
    return broker.push([Waiting(queue, rank, id) for id in ids])


def take(broker: Broker, count: int = 100, *queues: str, taker: str = "w:1") -> list[str]:
    return broker.take(taker, list(queues or ["mail"]), count)


def keys(broker: Broker) -> set[str]:
    return {key.decode() for key in broker.client.scan_iter()}


# Push


def test_ids_are_taken_in_the_order_of_their_push(broker):
    push(broker, "c", "a")
    push(broker, "b")

    assert take(broker) == ["c", "a", "b"]


def test_an_id_pushed_twice_waits_once(broker):
    assert push(broker, "a", "b", "a") == 2
    assert push(broker, "b", "c") == 1

    assert take(broker) == ["a", "b", "c"]


def test_an_id_that_is_taken_does_not_wait_again(broker):
    push(broker, "a")
    take(broker)

    assert push(broker, "a") == 0
    assert take(broker, taker="w:2") == []


def test_an_id_that_is_forgotten_may_wait_again(broker):
    push(broker, "a")
    take(broker)
    take(broker, 0)

    assert push(broker, "a") == 1
    assert take(broker) == ["a"]


def test_one_push_serves_many_lanes(broker):
    broker.push(
        [Waiting("mail", 5, "a"), Waiting("mail", -5, "b"), Waiting("reports", 0, "c"), Waiting("mail", 5, "d")]
    )

    assert take(broker, 9, "mail", "reports") == ["b", "a", "d", "c"]


def test_nothing_to_push_is_no_call_at_all(broker):
    assert broker.push([]) == 0
    assert keys(broker) == set()


def test_large_pushes_are_taken_whole_and_in_order(broker):
    ids = [f"{number:032x}" for number in range(25_000)]

    assert push(broker, *ids) == 25_000

    assert broker.count("mail") == Count(25_000, 0, 25_000)
    assert take(broker, 25_000) == ids


def test_a_large_push_goes_in_pieces(broker):
    push(broker, "warm")
    broker.client.config_resetstat()

    push(broker, *map(str, range(2_500)))

    assert broker.client.info("commandstats")["cmdstat_evalsha"]["calls"] == 3


def test_a_push_survives_that_redis_forgets_its_scripts(broker):
    push(broker, "a")
    broker.client.script_flush()

    assert push(broker, "b") == 1
    assert take(broker) == ["a", "b"]


# Take


def test_lower_ranks_are_taken_first(broker):
    for rank in (0, 100, -100, 7, -7):
        push(broker, f"{rank}", rank=rank)

    assert take(broker) == ["-100", "-7", "0", "7", "100"]


def test_an_urgent_id_that_comes_late_is_taken_next(broker):
    push(broker, "a", "b", rank=0)
    assert take(broker, 1) == ["a"]

    push(broker, "urgent", rank=-1)

    assert take(broker, 9) == ["urgent", "b"]


def test_queues_are_emptied_in_the_order_asked_for(broker):
    push(broker, "m1", "m2", queue="mail")
    push(broker, "r1", "r2", queue="reports", rank=-100)

    assert take(broker, 3, "mail", "reports") == ["m1", "m2", "r1"]
    assert take(broker, 3, "reports", "mail") == ["r2"]


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5])
def test_no_more_are_taken_than_wanted(broker, count):
    push(broker, "a", "b", rank=-1)
    push(broker, "c", "d", rank=1)

    assert take(broker, count) == ["a", "b", "c", "d"][:count]


def test_queues_that_nobody_asked_for_are_left_alone(broker):
    push(broker, "a", queue="reports")

    assert take(broker, 9, "mail") == []
    assert broker.count("reports") == Count(1, 0, 1)


def test_takers_get_different_ids(broker):
    push(broker, *map(str, range(1_000)))
    taken: dict[str, list[str]] = {}

    def work(taker: str) -> None:
        with redis.Redis.from_url(os.environ["DJANGO_JOBS_TEST_REDIS"]) as client:
            own = Broker(client, "django_jobs")
            taken[taker] = []
            while ids := own.take(taker, ["mail"], 7):
                taken[taker] += ids

    threads = [threading.Thread(target=work, args=(f"w:{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(id for ids in taken.values() for id in ids) == sorted(map(str, range(1_000)))


def test_taking_forgets_what_was_taken_before(broker):
    push(broker, "a", "b")
    take(broker, 1)
    assert broker.count("mail") == Count(1, 1, 2)

    take(broker, 1)

    assert broker.count("mail") == Count(0, 1, 1)
    assert broker.unknown("mail", ["a", "b"]) == ["a"]


def test_taking_does_not_forget_what_others_have_taken(broker):
    push(broker, "a", "b")
    take(broker, 1, taker="w:1")

    take(broker, 1, taker="w:2")
    take(broker, 0, taker="w:2")

    assert broker.unknown("mail", ["a", "b"]) == ["b"]
    assert broker.takers() == ["w:1"]


def test_nothing_is_left_when_all_is_done(broker):
    push(broker, "a", "b", rank=3)
    push(broker, "c", queue="reports")
    take(broker, 9, "mail", "reports")

    take(broker, 9, "mail", "reports")

    assert keys(broker) == {broker.key("queues"), broker.key("wake")}
    assert broker.queues() == ["mail", "reports"]


# Give back


def test_what_is_given_back_is_taken_again_before_all_else_of_its_lane(broker):
    push(broker, "a", "b", "c", "d", rank=1)
    push(broker, "urgent", rank=0)
    assert take(broker, 3) == ["urgent", "a", "b"]

    assert broker.give_back("w:1") == 3

    assert take(broker, 9, taker="w:2") == ["urgent", "a", "b", "c", "d"]


def test_what_is_given_back_goes_to_its_own_queue(broker):
    push(broker, "m", queue="mail")
    push(broker, "r", queue="reports")
    take(broker, 9, "mail", "reports")

    broker.give_back("w:1")

    assert (take(broker, 9, "mail"), take(broker, 9, "reports", taker="w:2")) == (["m"], ["r"])


def test_giving_back_leaves_no_taker(broker):
    push(broker, "a")
    take(broker)

    broker.give_back("w:1")

    assert broker.takers() == []
    assert broker.give_back("w:1") == 0
    assert broker.count("mail") == Count(1, 0, 1)


# Epoch


def test_at_another_epoch_nothing_is_taken_and_nothing_forgotten(broker):
    push(broker, "a", "b")
    broker.set_epoch("1")
    assert broker.take("w:1", ["mail"], 1, "1") == ["a"]
    broker.set_epoch("2")

    with pytest.raises(EpochChanged):
        broker.take("w:1", ["mail"], 1, "1")

    assert broker.count("mail") == Count(1, 1, 2)
    assert broker.take("w:1", ["mail"], 1, "2") == ["b"]


def test_a_wiped_redis_is_at_no_epoch(broker):
    broker.set_epoch("1")
    broker.client.flushall()

    assert broker.epoch() == ""
    with pytest.raises(EpochChanged):
        broker.take("w:1", ["mail"], 1, "1")


def test_a_taker_that_names_no_epoch_takes_at_any(broker):
    push(broker, "a")
    broker.set_epoch("1")

    assert broker.take("w:1", ["mail"], 1) == ["a"]


# Pauses


def test_a_paused_queue_keeps_its_ids_and_others_go_on(broker):
    push(broker, "m", queue="mail")
    push(broker, "r", queue="reports")
    broker.set_paused(["mail"])

    assert take(broker, 9, "mail", "reports") == ["r"]

    broker.set_paused([])
    assert take(broker, 9, "mail", "reports") == ["m"]


def test_pauses_replace_each_other(broker):
    broker.set_paused(["mail", "reports"])
    broker.set_paused(["reports"])

    assert broker.paused() == {"reports"}


def test_a_paused_queue_takes_new_ids(broker):
    broker.set_paused(["mail"])

    assert push(broker, "a") == 1
    assert broker.count("mail") == Count(1, 0, 1)


# Books


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("push"), st.integers(0, 30), st.integers(-2, 2)),
        st.tuples(st.just("take"), st.sampled_from("xyz"), st.integers(0, 4)),
        st.tuples(st.just("give_back"), st.sampled_from("xyz"), st.just(0)),
    ),
    max_size=40,
)


@given(ACTIONS)
@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_done_what_waits_and_what_is_taken_is_what_is_known(broker, actions):
    broker.client.flushall()
    for action, who, number in actions:
        match action:
            case "push":
                push(broker, str(who), rank=number)
            case "take":
                take(broker, number, taker=who)
            case "give_back":
                broker.give_back(who)

        count = broker.count("mail")
        assert count.waiting + count.taken == count.known == broker.client.scard(broker.key("known", "mail"))


def test_unknown_names_what_redis_does_not_know(broker):
    push(broker, "a", "b", "c")
    take(broker, 1)

    assert broker.unknown("mail", ["z", "a", "b", "y"]) == ["z", "y"]
    assert broker.unknown("reports", ["a"]) == ["a"]
    assert broker.unknown("mail", []) == []


def test_a_dropped_queue_is_empty_and_can_be_filled_again(broker):
    push(broker, "a", rank=1)
    push(broker, "b", rank=-1)
    push(broker, "r", queue="reports")

    broker.drop("mail")

    assert broker.count("mail") == Count(0, 0, 0)
    assert broker.count("reports") == Count(1, 0, 1)
    assert push(broker, "a", "b") == 2
    assert take(broker) == ["a", "b"]


def test_what_a_taker_holds_of_a_dropped_queue_does_not_make_its_new_books_wrong(broker):
    push(broker, "a", "b")
    push(broker, "r", queue="reports")
    take(broker, 1)
    take(broker, 1, "mail", "reports", taker="w:2")

    broker.drop("mail")
    push(broker, "a", "b")
    take(broker, 0)

    assert broker.count("mail") == Count(2, 0, 2)
    assert broker.takers() == []


def test_a_dropped_queue_keeps_what_is_taken_of_others(broker):
    push(broker, "a")
    push(broker, "r", queue="reports")
    take(broker, 9, "mail", "reports")

    broker.drop("mail")

    assert broker.count("reports") == Count(0, 1, 1)
    assert broker.takers() == ["w:1"]


@pytest.mark.parametrize(
    "entry", [b"", b"a", b"mail\n0", b"mail\nx\na", b"\n\n", b"mail\nnan\na", b"\xff\x00\n0\n\xff"]
)
def test_an_entry_of_a_taken_list_that_is_not_ours_is_in_nobodys_way(broker, entry):
    push(broker, "a", "b")
    take(broker, 1)
    broker.client.rpush(broker.key("taken", "w:1"), entry)

    broker.give_back("w:1")
    broker.client.rpush(broker.key("taken", "w:2"), entry)

    assert take(broker, taker="w:2") == ["a", "b"]
    assert take(broker, taker="w:2") == []


@pytest.mark.parametrize("act", ["push", "take", "give_back", "unknown"])
@pytest.mark.parametrize("key", ["known:mail", "lane:mail:0", "ranks:mail", "taken:w:1", "takers", "queues", "paused"])
def test_a_value_of_another_type_stops_nothing_twice(broker, act, key):
    push(broker, "a")
    take(broker, 1)
    push(broker, "b")
    broker.set_epoch("1")
    broker.client.delete(broker.key(key))
    broker.client.hset(broker.key(key), "foreign", "value")
    acts = {
        "push": lambda: push(broker, "c"),
        "take": lambda: take(broker),
        "give_back": lambda: broker.give_back("w:1"),
        "unknown": lambda: broker.unknown("mail", ["a"]),
    }

    try:
        acts[act]()
    except ResponseError:
        assert broker.epoch() == ""  # all is filled anew
        assert broker.client.exists(broker.key(key)) == 0

    acts[act]()


def test_names_of_queues_that_are_no_text_are_none(broker):
    push(broker, "a")
    broker.client.sadd(broker.key("queues"), b"\xff\xfe", b"a\0b")
    broker.client.sadd(broker.key("paused"), b"\xff\xfe")
    broker.client.set(broker.key("epoch"), b"\xff\xfe")

    assert broker.queues() == ["mail"]
    assert broker.paused() == {"\ufffd\ufffd"}
    assert broker.epoch() == "\ufffd\ufffd"


@pytest.mark.parametrize("key", ["lane:mail:0", "ranks:mail", "known:mail", "wake:mail"])
def test_a_queue_with_a_key_of_a_wrong_type_does_not_add_up_and_can_be_dropped(broker, key):
    push(broker, "a")
    broker.client.delete(broker.key(key))
    broker.client.hset(broker.key(key), "foreign", "value")

    count = broker.count("mail")
    broker.drop("mail")
    push(broker, "b")

    assert count.waiting + count.taken != count.known
    assert take(broker)[-1] == "b"


@pytest.mark.parametrize(
    ("key", "read"), [("queues", Broker.queues), ("takers", Broker.takers), ("paused", Broker.paused)]
)
def test_a_foreign_value_is_read_as_nothing_and_goes_with_the_epoch(broker, key, read):
    broker.set_epoch("1")
    broker.client.hset(broker.key(key), "foreign", "value")

    assert list(read(broker)) == []

    assert broker.client.exists(broker.key(key)) == 0
    assert broker.epoch() == ""


def test_a_foreign_value_in_place_of_the_epoch_is_none(broker):
    broker.client.hset(broker.key("epoch"), "foreign", "value")

    assert broker.epoch() == ""


# Whose keys


@pytest.mark.parametrize("prefix", STRANGE)
def test_clear_deletes_all_of_its_own_and_nothing_else(redis_clean, prefix):
    broker = Broker(redis_clean, prefix)
    others = {"foreign": "x", "{a}:1": "x", "ab": "x", "{aa:1}:queues": "x", "{b:1}:lane": "x", "{a*:10}:queues": "x"}
    redis_clean.mset(others)
    push(broker, "a", "b", queue="m*[x]?")
    broker.set_epoch("1")
    broker.set_paused(["mail"])
    take(broker, 1, "m*[x]?")

    broker.clear()

    assert keys(broker) == others.keys()


def test_clear_deletes_keys_of_any_type(broker):
    for key in ("queues", "takers", "paused", "epoch", "lane:mail:0"):
        broker.client.hset(broker.key(key), "foreign", "value")

    broker.clear()

    assert keys(broker) == set()


def test_prefixes_do_not_see_each_other(redis_clean):
    one, other = Broker(redis_clean, "one"), Broker(redis_clean, "other")
    push(one, "a")

    assert take(other) == []
    assert take(one) == ["a"]


def test_all_keys_lie_in_one_slot_of_a_cluster(broker):
    push(broker, "a", "b")
    take(broker, 1)
    broker.set_epoch("1")
    broker.set_paused(["reports"])

    assert len(keys(broker)) == 10
    assert all(key.startswith("{django_jobs:1}:") for key in keys(broker))


def test_nothing_expires(broker):
    push(broker, "a", "b")
    take(broker, 1)
    broker.set_epoch("1")

    assert {broker.client.ttl(key) for key in keys(broker)} == {-1}


# Wake-ups


@pytest.fixture
def waiters(broker):
    """Two waiters, each of a taker of its own."""
    both = broker.waiter(), broker.waiter()
    yield both
    for waiter in both:
        waiter.close()


def is_woken(waiter, seconds: float) -> bool:
    return bool(select.select([waiter], [], [], seconds)[0])


def is_blocked(broker: Broker, count: int = 1) -> bool:
    return broker.client.info("clients")["blocked_clients"] == count


def test_a_push_wakes_who_waits(broker, waiters):
    waiter, _ = waiters
    waiter.arm(broker.wake_keys(["reports", "mail"]))
    wait_for(lambda: is_blocked(broker))

    push(broker, "a")

    assert is_woken(waiter, 5)
    assert waiter.read().key == broker.key("wake", "mail").encode()
    assert not waiter.armed


def test_the_first_push_to_a_queue_wakes_who_waits_for_new_ones(broker, waiters):
    waiter, other = waiters
    push(broker, "a")
    take(broker)
    broker.client.delete(broker.key("wake"))
    waiter.arm(broker.wake_keys(["mail"], new=True))
    other.arm(broker.wake_keys(["mail"]))
    wait_for(lambda: is_blocked(broker, 2))

    push(broker, "r", queue="reports")

    assert is_woken(waiter, 5)
    assert broker.is_of_new_queues(waiter.read().key)
    push(broker, "s", queue="reports")
    assert not broker.client.exists(broker.key("wake"))
    assert not is_woken(other, 0.1) or other.read().key is None  # that is the end of its waiting


def test_a_push_before_the_waiting_wakes_at_once(broker, waiters):
    waiter, _ = waiters
    push(broker, "a")

    waiter.arm(broker.wake_keys(["mail"]))

    assert is_woken(waiter, 5)
    assert waiter.read().key is not None


def test_a_wait_without_work_ends_by_itself(broker, waiters):
    waiter, _ = waiters

    waiter.arm(broker.wake_keys(["mail"]))

    assert is_woken(waiter, 5)
    assert waiter.read().key is None


def test_arming_again_for_other_queues_waits_for_those(broker, waiters):
    waiter, _ = waiters
    waiter.arm(broker.wake_keys(["mail"]))
    waiter.arm(broker.wake_keys(["reports"]))
    wait_for(lambda: is_blocked(broker))

    push(broker, "r", queue="reports")

    assert is_woken(waiter, 5)
    assert waiter.read().key == broker.key("wake", "reports").encode()


def test_who_leaves_ids_behind_wakes_the_next(broker, waiters):
    first, second = waiters
    for waiter in waiters:
        waiter.arm(broker.wake_keys(["mail"]))
    wait_for(lambda: is_blocked(broker, 2))
    push(broker, "a", "b")
    [woken], _, _ = select.select(waiters, [], [], 5)
    asleep = second if woken is first else first
    assert woken.read().key is not None

    take(broker, 1)

    assert is_woken(asleep, 5)
    assert asleep.read().key is not None


def test_who_takes_the_last_id_wakes_nobody(broker):
    push(broker, "a")
    take(broker, 1)

    assert broker.client.exists(broker.key("wake", "mail")) == 0


def test_many_pushes_leave_one_token(broker):
    for number in range(10):
        push(broker, str(number))

    assert broker.client.llen(broker.key("wake", "mail")) == 1


def test_a_wake_up_can_be_passed_on(broker, waiters):
    first, second = waiters
    first.arm(broker.wake_keys(["mail"]))
    push(broker, "a")
    assert is_woken(first, 5)
    second.arm(broker.wake_keys(["mail"]))

    broker.wake(first.read().key)

    assert is_woken(second, 5)
    assert second.read().key is not None


def test_a_command_may_follow_the_wake_up(broker, waiters):
    waiter, _ = waiters
    waiter.arm(broker.wake_keys(["mail"]))
    assert take(broker) == []  # the server knows the script
    waiter.follow_with(*broker.take_command("w:1", ["mail"], 5))
    wait_for(lambda: is_blocked(broker))

    push(broker, "a", "b")

    assert is_woken(waiter, 5)
    key, answer = waiter.read()
    assert key == broker.key("wake", "mail").encode()
    assert broker.taken(answer) == ["a", "b"]
    assert broker.count("mail").taken == 2


def test_a_command_follows_a_wait_that_was_in_vain(broker, waiters):
    waiter, _ = waiters
    waiter.arm(broker.wake_keys(["mail"]))
    waiter.follow_with("PING")

    assert is_woken(waiter, 5)
    assert waiter.read() == (None, b"PONG")


def test_what_the_command_met_comes_with_the_wake_up(broker, waiters):
    waiter, _ = waiters
    push(broker, "a")
    waiter.arm(broker.wake_keys(["mail"]))
    waiter.follow_with("EVALSHA", "0" * 40, 0)

    assert is_woken(waiter, 5)
    key, answer = waiter.read()
    assert key == broker.key("wake", "mail").encode()
    assert isinstance(answer, NoScriptError)


def test_a_command_follows_one_wait_only(broker, waiters):
    waiter, _ = waiters
    push(broker, "a")
    waiter.arm(broker.wake_keys(["mail"]))
    waiter.follow_with("PING")
    waiter.read()
    push(broker, "b")

    waiter.arm(broker.wake_keys(["mail"]))

    assert not waiter.followed
    assert waiter.read() == (broker.key("wake", "mail").encode(), None)


def test_giving_back_wakes_who_waits(broker, waiters):
    waiter, _ = waiters
    push(broker, "a")
    take(broker)
    waiter.arm(broker.wake_keys(["mail"]))
    wait_for(lambda: is_blocked(broker))

    broker.give_back("w:1")

    assert is_woken(waiter, 5)
    assert waiter.read().key is not None


def test_a_closed_waiter_is_deaf_and_may_be_armed_again(broker, waiters):
    waiter, _ = waiters
    waiter.arm(broker.wake_keys(["mail"]))
    waiter.close()
    assert not waiter.armed
    wait_for(lambda: is_blocked(broker, 0))

    push(broker, "a")
    waiter.arm(broker.wake_keys(["mail"]))

    assert is_woken(waiter, 5)
    assert waiter.read().key is not None


def test_what_comes_back_unharmed_stands_before_all_others_in_its_order(broker):
    push(broker, "c", "d")

    broker.push([Waiting("mail", 0, "a"), Waiting("mail", 0, "b")], first=True)

    assert broker.take("taker:1", ["mail"], 4) == ["a", "b", "c", "d"]


def test_who_waits_is_woken_when_a_queue_is_resumed(broker):
    broker.set_paused(["mail"])
    push(broker, "a")
    assert take(broker) == []

    waiter = broker.waiter()
    waiter.arm(broker.wake_keys(["mail"]))
    broker.set_paused([])

    assert is_woken(waiter, 5)  # by itself it would wake after three seconds, and for nothing
    assert waiter.read().key == broker.key("wake", "mail").encode()
    assert take(broker) == ["a"]
