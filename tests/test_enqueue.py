"""Enqueueing: a row in the caller's transaction, an id in Redis after its commit, and nobody kept waiting."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.db import IntegrityError, connection, connections, transaction
from django.test.utils import CaptureQueriesContext
from redis.exceptions import ConnectionError as Disconnected

from django_jobs import InvalidTask, broker, embedded, enqueue, signals
from django_jobs.broker import Waiting, breaker
from django_jobs.broker.connection import PRODUCER
from django_jobs.models import Job, Queue, db_now
from tests.app.tasks import add
from tests.faults.proxy import Proxy
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
HOUR = timedelta(hours=1)
REDIS = "django_redis.cache.RedisCache"
AT_ONCE, ON_A_PAGE = broker.AT_ONCE, dict(PRODUCER)


@pytest.fixture(autouse=True)
def fresh(redis_clean, patience, monkeypatch):
    """Begin as a process does that has enqueued nothing yet."""
    monkeypatch.setattr(enqueue, "_known_queues", set())
    monkeypatch.setattr(enqueue, "_warned", set())


@pytest.fixture
def haste(fresh, monkeypatch):
    """Wait no longer for Redis than a page does."""
    monkeypatch.setattr(broker, "AT_ONCE", AT_ONCE)
    for name, seconds in ON_A_PAGE.items():
        monkeypatch.setitem(PRODUCER, name, seconds)


@pytest.fixture
def ids(redis_clean):
    """A function that returns the jobs whose ids wait in a lane, in their order."""

    def waiting(queue: str = "default", rank: int = 0) -> list[str]:
        return [id.decode() for id in redis_clean.lrange(f"{{django_jobs:1}}:lane:{queue}:{rank}", 0, -1)]

    return waiting


@pytest.fixture
def pushes(redis_clean):
    """A function that returns how many scripts Redis was asked to run since the test's first line."""
    broker.try_push([Waiting("warm", 0, "up")])  # loads the script
    redis_clean.config_resetstat()

    def count() -> int:
        return redis_clean.info("commandstats").get("cmdstat_evalsha", {}).get("calls", 0)

    return count


def hexes(*jobs: Job) -> list[str]:
    return [job.id.hex for job in jobs]


def seen_by_others() -> int:
    """Return how many jobs another connection sees."""
    counts: list[int] = []

    def count() -> None:
        counts.append(Job.objects.count())
        connections.close_all()

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    return counts[0]


def jobs_on(alias: str) -> int:
    return Job.objects.using(alias).count()


# Transactions


def test_outside_a_transaction_row_and_id_are_there_at_once(ids):
    job = add.enqueue(1, b=2)

    stored = Job.objects.get()
    assert (stored.pk, stored.args, stored.kwargs, stored.state) == (job.pk, [1], {"b": 2}, "queued")
    assert ids() == hexes(job)


def test_inside_a_transaction_row_and_id_come_with_its_commit(ids):
    with transaction.atomic():
        job = add.enqueue(1, 2)
        assert (seen_by_others(), ids()) == (0, [])

    assert (seen_by_others(), ids()) == (1, hexes(job))


def test_a_rolled_back_transaction_leaves_no_row_and_no_id(redis_clean):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        add.enqueue(1, 2)
        add.enqueue_many([add.s(1, 2), add.s(3, 4)])
        1 / 0  # noqa: B018

    assert not Job.objects.exists()
    assert redis_clean.keys() == []


def test_a_rolled_back_savepoint_takes_only_its_own_jobs_along(ids):
    with transaction.atomic():
        before = add.enqueue(1, 1)
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            add.enqueue(2, 2)
            add.enqueue(3, 3)
            1 / 0  # noqa: B018
        with transaction.atomic():
            inside = add.enqueue(4, 4)
        after = add.enqueue(5, 5)

    assert set(Job.objects.values_list("pk", flat=True)) == {before.pk, inside.pk, after.pk}
    assert ids() == hexes(before, inside, after)


def test_a_savepoint_inside_one_that_is_rolled_back_goes_too(ids):
    with transaction.atomic():
        kept = add.enqueue(1, 1)
        with contextlib.suppress(ZeroDivisionError), transaction.atomic():
            with transaction.atomic():
                add.enqueue(2, 2)
            1 / 0  # noqa: B018

    assert ids() == hexes(kept)


def test_a_durable_transaction_is_one_like_others(ids):
    with transaction.atomic(durable=True):
        job = add.enqueue(1, 2)
        assert ids() == []

    assert ids() == hexes(job)


def test_a_transaction_that_is_marked_for_rollback_leaves_nothing(redis_clean):
    with transaction.atomic():
        add.enqueue(1, 2)
        transaction.set_rollback(True)

    assert not Job.objects.exists()
    assert redis_clean.keys() == []


def test_a_transaction_makes_one_push(ids, pushes):
    with transaction.atomic():
        jobs = [add.enqueue(number, 0) for number in range(5)]
        jobs += add.enqueue_many([add.s(number, 0) for number in range(5)])

    assert ids() == hexes(*jobs)
    assert pushes() == 1


def test_a_transaction_makes_one_push_whatever_else_it_does_on_commit(ids, pushes, settings):
    settings.DJANGO_JOBS = {"QUEUES": []}
    called = []
    with transaction.atomic():
        for number in range(5):
            transaction.on_commit(lambda: called.append(1))
            add.using(queue_name=f"q{number}").enqueue(number, 0)

    assert [len(ids(f"q{number}")) for number in range(5)] == [1] * 5
    assert (pushes(), len(called)) == (1, 5)


def test_jobs_of_one_savepoint_are_one_push(pushes):
    with transaction.atomic(), transaction.atomic():
        add.enqueue(1, 1)
        add.enqueue(2, 2)

    assert pushes() == 1


def test_a_callback_that_raises_at_commit_does_not_undo_what_is_stored(ids):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        job = add.enqueue(1, 2)
        transaction.on_commit(lambda: 1 / 0)

    assert Job.objects.count() == 1
    assert ids() == hexes(job)


def test_threads_enqueue_side_by_side(ids):
    def work() -> None:
        for number in range(10):
            add.enqueue(number, 0)
        connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(ids()) == sorted(hexes(*Job.objects.all()))
    assert Job.objects.count() == 40


@pytest.mark.postgresql
def test_a_long_transaction_that_makes_a_queue_keeps_nobody_waiting(settings):
    settings.DJANGO_JOBS = {"QUEUES": []}
    add.enqueue(0, 0)
    done = threading.Event()

    def work() -> None:
        add.using(queue_name="new").enqueue(1, 2)
        done.set()
        connections.close_all()

    thread = threading.Thread(target=work)
    with transaction.atomic():
        add.using(queue_name="new").enqueue(1, 2)
        thread.start()
        was_done = done.wait(10)
    thread.join()

    assert was_done
    assert set(Queue.objects.values_list("name", flat=True)) == {"default", "new"}


# Async


def test_aenqueue_works_in_the_transaction_of_the_async_orm(ids):
    async def work() -> Job:
        atomic = transaction.atomic()
        await sync_to_async(atomic.__enter__)()
        job = await add.aenqueue(1, 2)
        assert (await sync_to_async(seen_by_others)(), ids()) == (0, [])
        await sync_to_async(atomic.__exit__)(None, None, None)
        return job

    job = async_to_sync(work)()

    assert (Job.objects.get().pk, ids()) == (job.pk, hexes(job))


def test_aenqueue_rolls_back_with_the_transaction_of_the_async_orm(redis_clean):
    async def work() -> None:
        atomic = transaction.atomic()
        await sync_to_async(atomic.__enter__)()
        await add.aenqueue(1, 2)
        await add.aenqueue_many([add.s(3, 4)])
        await sync_to_async(atomic.__exit__)(ValueError, ValueError(), None)

    async_to_sync(work)()

    assert not Job.objects.exists()
    assert redis_clean.keys() == []


def test_aenqueue_outside_a_transaction_sends_at_once(ids):
    async def work() -> list[Job]:
        return [await add.aenqueue(1, 2), *await add.aenqueue_many([add.s(3, 4), {"a": 5, "b": 6}])]

    jobs = async_to_sync(work)()

    assert ids() == hexes(*jobs)
    assert [job.kwargs for job in jobs] == [{}, {}, {"a": 5, "b": 6}]


# Many


@pytest.mark.postgresql
def test_a_thousand_jobs_are_one_insert(settings, pushes):
    add.enqueue(0, 0)
    before = pushes()

    with CaptureQueriesContext(connection) as queries:
        jobs = add.enqueue_many(add.s(number, 0) for number in range(1000))

    assert ["INSERT INTO django_jobs_job" in query["sql"] for query in queries] == [True]
    assert pushes() - before == 1
    assert len(jobs) == 1000


@pytest.mark.postgresql
def test_more_than_a_thousand_go_by_the_thousand():
    add.enqueue(0, 0)

    with CaptureQueriesContext(connection) as queries:
        add.using(run_after=HOUR).enqueue_many(add.s(number, 0) for number in range(2500))

    inserts = [query for query in queries if "INSERT" in query["sql"]]
    assert (len(inserts), len(queries)) == (3, 6)  # one asks for the time, two begin and commit


def test_many_jobs_keep_their_order_and_arguments(ids):
    jobs = add.enqueue_many([{"a": 1, "b": 2}, add.s(3, b=4), *(add.s(number, 0) for number in range(1500))])

    stored = list(Job.objects.order_by("pk"))
    assert [job.pk for job in stored] == [job.pk for job in jobs]
    assert [(job.args, job.kwargs) for job in stored[:3]] == [([], {"a": 1, "b": 2}), ([3], {"b": 4}), ([0, 0], {})]
    assert ids() == hexes(*jobs)


def test_one_wrong_call_among_many_saves_none(redis_clean):
    with pytest.raises(TypeError, match="got an unexpected argument 'c'"):
        add.enqueue_many([add.s(1, 2), {"a": 1, "c": 2}])

    assert not Job.objects.exists()
    assert redis_clean.keys() == []


def test_one_row_that_the_database_refuses_among_many_saves_none(redis_clean, monkeypatch):
    monkeypatch.setattr(enqueue, "INSERT_CHUNK", 2)
    jobs = [add.prepare((number, 0), {}) for number in range(5)]
    jobs[4].id = jobs[0].id

    with pytest.raises(IntegrityError):
        enqueue.save(jobs)

    assert not Job.objects.exists()
    assert redis_clean.keys("*lane*") == []


def test_many_of_none_is_nothing(redis_clean):
    with CaptureQueriesContext(connection) as queries:
        assert add.enqueue_many([]) == []

    assert (list(queries), redis_clean.keys()) == ([], [])


# Where and when


@pytest.mark.parametrize(("priority", "rank"), [(100, -100), (0, 0), (-100, 100)])
def test_queue_and_priority_name_the_lane(ids, settings, priority, rank):
    settings.DJANGO_JOBS = {"QUEUES": ["mail"]}

    job = add.using(queue_name="mail", priority=priority).enqueue(1, 2)

    assert ids("mail", rank) == hexes(job)


@pytest.mark.parametrize("many", [False, True])
def test_a_delay_is_counted_by_the_database_from_the_enqueue(redis_clean, many):
    later = add.using(run_after=HOUR)
    before = db_now()

    [job] = later.enqueue_many([later.s(1, 2)]) if many else [later.enqueue(1, 2)]

    assert before + HOUR <= job.run_after <= db_now() + HOUR
    assert job.run_after == job.enqueued_at + HOUR == Job.objects.get().run_after
    assert job.state == Job.objects.get().state == "scheduled"
    assert redis_clean.keys("*lane*") == []


def test_a_delay_of_somebodys_own_class_is_counted_too():
    class Delay(timedelta):
        pass

    job = add.using(run_after=Delay(hours=1)).enqueue(1, 2)

    assert job.run_after == Job.objects.get().run_after == job.enqueued_at + HOUR


def test_the_same_delay_is_counted_anew_at_each_enqueue():
    later = add.using(run_after=HOUR)

    first = later.enqueue(1, 2)
    wait_for(lambda: db_now() > first.enqueued_at)
    second = later.enqueue(1, 2)

    assert second.run_after > first.run_after


def test_a_moment_is_kept(ids):
    moment = datetime(2035, 1, 1, 12, tzinfo=UTC)

    job = add.using(run_after=moment).enqueue(1, 2)

    assert job.run_after == Job.objects.get().run_after == moment
    assert (job.state, ids()) == ("scheduled", [])


def test_without_a_moment_a_job_is_due_at_once():
    assert add.enqueue(1, 2).run_after is None


@pytest.mark.parametrize("wrong", [datetime(2035, 1, 1), -HOUR])
def test_a_naive_moment_and_a_negative_delay_are_refused(wrong):
    with pytest.raises(InvalidTask, match="an aware datetime, or a timedelta that is not negative"):
        add.using(run_after=wrong).enqueue(1, 2)

    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("run_after", "expires", "lifetime"),
    [(None, 60, timedelta(seconds=60)), (None, HOUR, HOUR), (2 * HOUR, HOUR, 3 * HOUR), (None, None, None)],
)
def test_a_lifetime_is_counted_from_the_moment_at_which_a_job_is_due(run_after, expires, lifetime):
    job = add.using(run_after=run_after, expires=expires).enqueue(1, 2)

    stored = Job.objects.get()
    assert job.expires_at == stored.expires_at == (None if lifetime is None else stored.enqueued_at + lifetime)


def test_a_lifetime_is_counted_from_a_given_moment():
    moment = datetime(2035, 1, 1, 12, tzinfo=UTC)

    job = add.using(run_after=moment, expires=60).enqueue(1, 2)

    assert Job.objects.get().expires_at == job.expires_at == moment + timedelta(seconds=60)


def test_the_moment_of_the_enqueue_is_the_databases():
    before = db_now()
    job = add.enqueue(1, 2)

    assert before <= job.enqueued_at <= db_now()


# Queues


def test_a_queue_gets_a_row_once(settings):
    settings.DJANGO_JOBS = {"QUEUES": []}
    mail = add.using(queue_name="mail")
    mail.enqueue(1, 2)

    with CaptureQueriesContext(connection) as queries:
        mail.enqueue(3, 4)
        mail.enqueue_many([add.s(5, 6), add.s(7, 8)])

    assert not [query for query in queries if "django_jobs_queue" in query["sql"]]
    assert Queue.objects.get().name == "mail"


def test_a_queue_whose_first_job_is_rolled_back_gets_its_row_with_the_next():
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        add.enqueue(1, 2)
        1 / 0  # noqa: B018
    assert not Queue.objects.exists()

    add.enqueue(1, 2)

    assert Queue.objects.get().name == "default"


def test_a_row_of_a_queue_that_is_there_is_left_as_it_is():
    Queue.objects.create(name="default", paused_at=db_now(), reason="holidays")

    add.enqueue(1, 2)

    assert Queue.objects.get().reason == "holidays"


# Several databases


@pytest.fixture(params=["setting", "router"])
def jobs_on_other(request, settings):
    """Let our tables live on the alias "other", by either way of saying so."""
    if request.param == "setting":
        settings.DJANGO_JOBS = {"DATABASE": "other"}
    else:
        settings.DATABASE_ROUTERS = [JobsOnOther()]


class JobsOnOther:
    def db_for_write(self, model, **hints):
        return "other" if model._meta.app_label == "django_jobs" else None

    db_for_read = db_for_write


both = pytest.mark.django_db(transaction=True, databases=["default", "other"])


@both
def test_jobs_live_on_the_database_that_is_named(jobs_on_other, ids):
    job = add.enqueue(1, 2)
    add.using(run_after=HOUR).enqueue_many([add.s(1, 2), add.s(3, 4)])

    assert (jobs_on("default"), jobs_on("other")) == (0, 3)
    assert ids() == hexes(job)
    assert Queue.objects.using("other").count() == 1
    job.refresh()
    assert job.args == [1, 2]


@both
def test_the_transaction_that_counts_is_that_of_the_jobs_database(jobs_on_other, ids):
    with transaction.atomic(using="other"):
        job = add.enqueue(1, 2)
        assert ids() == []
    assert ids() == hexes(job)

    with contextlib.suppress(ZeroDivisionError), transaction.atomic(using="other"):
        add.enqueue(3, 4)
        1 / 0  # noqa: B018
    assert (jobs_on("other"), ids()) == (1, hexes(job))


@both
def test_a_transaction_of_another_database_is_warned_of_once_and_does_not_count(jobs_on_other, ids, caplog):
    with contextlib.suppress(ZeroDivisionError), transaction.atomic():
        jobs = [add.enqueue(1, 2), add.enqueue(3, 4)]
        1 / 0  # noqa: B018

    assert (jobs_on("other"), ids()) == (2, hexes(*jobs))
    [record] = caplog.records
    assert (record.name, record.levelno) == ("django_jobs.enqueue", logging.WARNING)
    assert 'inside atomic(using="default"), but jobs live on "other"' in record.message


@both
def test_inside_the_transactions_of_both_there_is_nothing_to_warn_of(jobs_on_other, caplog):
    with transaction.atomic(), transaction.atomic(using="other"):
        add.enqueue(1, 2)

    assert caplog.records == []


# Without Redis


@pytest.fixture
def port():
    """A port on which nobody listens."""
    return embedded.free_port()


def redis_at(port: int, database: int = 1) -> dict:
    return {"default": {"BACKEND": REDIS, "LOCATION": f"redis://127.0.0.1:{port}/{database}"}}


def real_redis() -> tuple[str, int]:
    parts = urlsplit(os.environ["DJANGO_JOBS_TEST_REDIS"])
    return parts.hostname, parts.port


def test_while_redis_is_away_jobs_are_stored_and_it_is_said_once(settings, port, caplog):
    settings.CACHES = redis_at(port)

    for number in range(5):
        add.enqueue(number, 0)
    with transaction.atomic():
        add.enqueue_many([add.s(1, 2), add.s(3, 4)])

    assert Job.objects.filter(state="queued").count() == 7
    assert [record.message for record in caplog.records] == [
        f'Redis at 127.0.0.1:{port}/1 (CACHES["default"]) refused the connection. '
        "The job is stored and will start when Redis is back."
    ]


def test_a_password_is_not_told(settings, port, caplog):
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": f"redis://:hush@127.0.0.1:{port}/1"}}

    add.enqueue(1, 2)

    assert "refused the connection" in caplog.text
    assert "hush" not in caplog.text


def test_a_redis_that_keeps_silent_costs_one_short_wait_and_not_one_each(haste, settings, caplog):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.CACHES = redis_at(silent.getsockname()[1])
        began = time.monotonic()

        with transaction.atomic():
            for number in range(20):
                with transaction.atomic():
                    add.enqueue(number, 0)  # a savepoint each, and so a push each

        took = time.monotonic() - began

    assert took < 2  # twenty waits of 0.2 s would be 4 s
    assert Job.objects.count() == 20
    assert "did not answer in time" in caplog.text


def test_when_redis_is_back_ids_go_there_again(settings, port, monkeypatch, caplog):
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.01)
    settings.CACHES = redis_at(port)
    add.enqueue(1, 2)
    with Proxy(*real_redis(), at=port):
        wait_for(lambda: broker.try_push([Waiting("default", 0, "back")]), what="a push")

    assert [record.message.partition(" ")[2].partition(" ")[2] for record in caplog.records][1:] == [
        f'127.0.0.1:{port}/1 (CACHES["default"]) answers again.'
    ]


def test_a_connection_that_was_cut_while_idle_is_made_again(redis_clean, ids, caplog):
    add.enqueue(1, 2)
    for client in redis_clean.client_list():
        if client["id"] != str(redis_clean.client_id()):
            redis_clean.client_kill_filter(_id=client["id"])

    add.enqueue(3, 4)

    assert len(ids()) == 2
    assert caplog.records == []


def test_a_push_whose_reply_is_lost_is_made_again_and_counts_once(settings, port, ids, caplog):
    settings.CACHES = redis_at(port, database=0)
    with Proxy(*real_redis(), at=port) as proxy:
        lost = proxy.lose_replies(b"EVALSHA")
        job = add.enqueue(1, 2)

    assert lost.is_set()
    assert (ids(), caplog.records) == (hexes(job), [])


@pytest.mark.parametrize("command", ["SCRIPT FLUSH", "lose the reply"])
def test_nobody_waits_for_the_answer_to_one_id_and_what_it_tells_is_mended_by_the_next(
    settings, port, redis_clean, ids, caplog, command
):
    settings.CACHES = redis_at(port, database=0)
    with Proxy(*real_redis(), at=port) as proxy:
        first = add.enqueue(1, 2)
        if command == "SCRIPT FLUSH":
            redis_clean.script_flush()
            second, last = add.enqueue(3, 4), add.enqueue(5, 6)
        else:
            lost = proxy.lose_replies(b"EVALSHA")
            second = add.enqueue(3, 4)
            wait_for(lost.is_set, what="the reply to be lost")
            last = add.enqueue(5, 6)

        assert sorted(ids()) == hexes(first, second, last)
        assert caplog.records == []


def test_threads_that_send_again_what_was_lost_do_not_get_into_each_others_way(redis_clean, ids):
    threads = 8
    barrier = threading.Barrier(threads)
    errors: list[BaseException] = []

    def push(number: int) -> None:
        try:
            for turn in range(20):
                barrier.wait(10)
                assert broker.try_push([Waiting("default", 0, f"{number}-{turn}")])
                if number == 0 and turn % 2:
                    redis_clean.script_flush()  # what is answered next, was not pushed
        except BaseException as error:
            errors.append(error)

    running = [threading.Thread(target=push, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join(30)
    redis_clean.script_flush()
    for _ in range(threads):
        broker.try_push([Waiting("default", 0, "last")])

    assert errors == []
    assert len(set(ids())) >= 20 * threads  # "last" may be on its way


@pytest.mark.parametrize(("seconds", "tries"), [(0, 2), (2 * AT_ONCE, 1)])
def test_only_a_connection_that_fails_at_once_is_tried_twice(request, monkeypatch, seconds, tries):
    if seconds:
        request.getfixturevalue("haste")
    tried = []

    def push_one(self, one):
        tried.append(one)
        time.sleep(seconds)
        raise Disconnected("cut")

    monkeypatch.setattr(broker.Broker, "push_one", push_one)

    assert not broker.try_push([Waiting("default", 0, "a")])
    assert len(tried) == tries


def test_cache_none_asks_no_redis_at_all(settings, redis_clean, caplog):
    settings.DJANGO_JOBS = {"CACHE": None}
    settings.CACHES = {}

    add.enqueue(1, 2)
    add.enqueue_many([add.s(3, 4), add.s(5, 6)])

    assert Job.objects.filter(state="queued").count() == 3
    assert (redis_clean.keys(), caplog.records) == ([], [])


def test_an_embedded_server_that_may_not_start_is_a_redis_that_is_away(settings, tmp_path, monkeypatch, caplog):
    monkeypatch.delenv("DJANGO_JOBS_EMBEDDED", raising=False)
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": embedded.redis_url(tmp_path)}}

    add.enqueue(1, 2)
    add.enqueue(3, 4)

    assert Job.objects.count() == 2
    [record] = caplog.records
    assert "The embedded Valkey is for development" in record.message
    assert "The job is stored and will start when Redis is back." in record.message


def test_an_embedded_server_that_has_stopped_is_started_by_the_next_push(settings, tmp_path, monkeypatch):
    monkeypatch.setattr(breaker, "FIRST_PAUSE", 0.01)
    settings.CACHES = {
        "default": {"BACKEND": REDIS, "LOCATION": embedded.redis_url(tmp_path, allow=True)},
    }
    try:
        assert broker.try_push([Waiting("default", 0, "a")])
        embedded.stop(tmp_path)

        wait_for(lambda: broker.try_push([Waiting("default", 0, "b")]), what="a push")
    finally:
        embedded.stop(tmp_path)


@pytest.mark.parametrize("key", ["queues", "known:default", "lane:default:0", "ranks:default"])
def test_foreign_values_under_our_keys_do_not_reach_who_enqueues(redis_clean, key, caplog):
    redis_clean.hset(f"{{django_jobs:1}}:{key}", "foreign", "value")

    add.enqueue(1, 2)

    assert Job.objects.get().state == "queued"
    assert "refused a command (" in caplog.text


def test_a_forked_process_uses_a_connection_of_its_own(redis_clean):
    broker.try_push([Waiting("default", 0, "first")])
    pid = os.fork()
    if pid == 0:
        try:
            os._exit(0 if push_many("child") else 1)
        finally:
            os._exit(2)

    is_pushed = push_many("parent")

    _, status = os.waitpid(pid, 0)
    assert (status, is_pushed) == (0, True)
    assert redis_clean.llen("{django_jobs:1}:lane:default:0") == 601


def push_many(name: str) -> bool:
    return all(broker.try_push([Waiting("default", 0, f"{name} {number}")]) for number in range(300))


# Middleware and signals


class Recorder:
    """Middleware that leaves its marks on each job."""

    name = "outer"

    @contextlib.contextmanager
    def enqueue(self, job):
        assert job._state.adding
        job.context = job.context | {"tenants": [*job.context.get("tenants", []), self.name]}
        job.metadata = job.metadata | {"by": self.name}
        yield
        assert not job._state.adding


class Inner(Recorder):
    name = "inner"


class OnlyExecutes:
    def execute(self, context): ...


class Refuses:
    @contextlib.contextmanager
    def enqueue(self, job):
        raise PermissionError("not in this tenant")
        yield


def here(*classes: type) -> dict:
    return {"MIDDLEWARE": [f"{__name__}.{one.__name__}" for one in classes]}


def test_middleware_surrounds_the_saving_the_first_outermost(settings):
    settings.DJANGO_JOBS = here(Recorder, OnlyExecutes, Inner)

    add.enqueue(1, 2)
    add.enqueue_many([add.s(3, 4), add.s(5, 6)])

    assert [(job.context, job.metadata) for job in Job.objects.all()] == [
        ({"tenants": ["outer", "inner"]}, {"by": "inner"})
    ] * 3


def test_middleware_that_raises_keeps_the_job_from_being_saved(settings, redis_clean):
    settings.DJANGO_JOBS = here(Recorder, Refuses)

    with pytest.raises(PermissionError, match="not in this tenant"):
        add.enqueue(1, 2)

    assert not Job.objects.exists()
    assert redis_clean.keys("*lane*") == []


@pytest.fixture
def heard():
    """What receivers of job_enqueued have heard; the first of them raises."""
    seen: list[tuple] = []

    def broken(**kwargs):
        raise ZeroDivisionError

    def listen(sender, job, **kwargs):
        seen.append((sender, job.pk, Job.objects.filter(pk=job.pk).exists(), connection.in_atomic_block))

    signals.job_enqueued.connect(broken)
    signals.job_enqueued.connect(listen)
    yield seen
    signals.job_enqueued.disconnect(broken)
    signals.job_enqueued.disconnect(listen)


def test_a_signal_tells_of_each_saved_job_before_its_commit(heard, ids):
    with transaction.atomic():
        job = add.enqueue(1, 2)
        others = add.enqueue_many([add.s(3, 4), add.s(5, 6)])

    assert heard == [(Job, one.pk, True, True) for one in (job, *others)]
    assert ids() == hexes(job, *others)


# Again, and no more


def finished(**values) -> Job:
    return Job.objects.create(task_path="tests.app.tasks.add", state="failed", finished_at=db_now(), **values)


def test_retry_queues_and_sends_again(ids):
    jobs = [finished(), finished()]
    add.enqueue(1, 2)

    with transaction.atomic():
        assert enqueue.retry(Job.objects.all()) == 2
        assert len(ids()) == 1

    assert set(ids()[1:]) == set(hexes(*jobs))
    assert set(Job.objects.values_list("state", flat=True)) == {"queued"}


@pytest.mark.parametrize("given", [lambda job: job, lambda job: [job.pk], lambda job: Job.objects.filter(pk=job.pk)])
def test_retry_and_cancel_take_a_job_ids_or_a_queryset(given):
    job = finished()

    assert enqueue.retry(given(job)) == 1
    assert enqueue.cancel(given(job), reason="no more") == 1

    job.refresh()
    assert (job.state, job.reason) == ("cancelled", "no more")


def test_cancel_stops_what_waits_and_asks_what_runs():
    waiting, running = add.enqueue(1, 2), add.enqueue(3, 4)
    Job.objects.filter(pk=running.pk).update(state="running")

    assert enqueue.cancel(Job.objects.all()) == 2

    waiting.refresh()
    running.refresh()
    assert (waiting.state, running.state) == ("cancelled", "running")
    assert running.cancel_requested_at is not None
    assert enqueue.cancel(Job.objects.all()) == 0


# Waiting for the end


def test_wait_inside_the_transaction_that_enqueued_is_refused():
    with transaction.atomic():
        job = add.enqueue(1, 2)
        with pytest.raises(RuntimeError, match=r"Leave the atomic\(\) block first"):
            job.wait(timeout=5)


def test_wait_gives_up_in_time():
    job = add.enqueue(1, 2)

    with pytest.raises(TimeoutError, match=rf"job {job.id} \(add\) is still queued after 0\.01 s"):
        job.wait(timeout=0.01)


def test_wait_returns_a_finished_job_whatever_its_end():
    job = finished()

    assert job.wait(timeout=0) is job
    assert async_to_sync(job.wait_async)(timeout=0) is job
    assert job.state == "failed"
