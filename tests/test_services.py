"""The servers of the test run."""

from __future__ import annotations

import pytest
import redis

from tests.app.models import Effect
from tests.services import wait_for


@pytest.mark.django_db(transaction=True)
def test_a_subprocess_works_in_the_database_of_the_test(manage):
    Effect.objects.create(key="test")
    program = "from tests.app.models import Effect; Effect.objects.create(key='sub' + Effect.objects.get().key)"

    process = manage("shell", "-c", program)

    assert process.wait(30) == 0, process.stdout.read()
    assert list(Effect.objects.order_by("id").values_list("key", flat=True)) == ["test", "subtest"]


@pytest.mark.django_db(databases=["default", "other"])
def test_there_are_two_databases():
    Effect.objects.using("other").create(key="there")

    assert not Effect.objects.exists()
    assert Effect.objects.using("other").exists()


def test_redis_can_be_killed_and_comes_back_empty(redis_clean, valkey):
    redis_clean.set("key", "value")

    valkey.kill()
    with pytest.raises(redis.ConnectionError):
        redis_clean.ping()
    valkey.start()

    assert redis_clean.get("key") is None


@pytest.mark.postgresql
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_postgresql_can_be_restarted_and_keeps_its_data(postgres, mode):
    postgres.execute("CREATE TABLE IF NOT EXISTS kept (value int)")
    postgres.execute("INSERT INTO kept VALUES (1)")

    postgres.restart(mode)

    assert postgres.execute("DELETE FROM kept RETURNING value") == [(1,)]


@pytest.mark.sqlite
@pytest.mark.django_db
def test_sqlite_is_a_file_with_a_write_ahead_log():
    from django.db import connection

    with connection.cursor() as cursor:
        assert cursor.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_wait_for_says_what_it_waited_for():
    with pytest.raises(AssertionError, match="the moon"):
        wait_for(lambda: False, 0.05, "the moon")
