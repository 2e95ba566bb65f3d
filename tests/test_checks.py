"""System checks: each mistake in the settings is found, and told with a hint."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from django.core import checks, management
from django.db import connections

from django_jobs import checks as ours
from django_jobs import task
from django_jobs.conf import NAMES
from django_jobs.tasks import registry
from tests.app import admin_tasks  # its tasks use queues besides "default"

REDIS = "django_redis.cache.RedisCache"


@pytest.fixture(autouse=True)
def no_mistakes(settings, monkeypatch):
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))
    settings.DJANGO_JOBS = {"QUEUES": []}
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1:6379/1"}}
    return settings


def found() -> dict[str, checks.CheckMessage]:
    return {message.id.partition(".")[2]: message for message in ours.check_all()}


def test_settings_without_mistakes_raise_nothing():
    assert set(found()) <= {"W005"}


def test_the_checks_run_with_manage_check():
    assert ours.check_all in checks.registry.registry.registered_checks


def test_every_setting_has_a_rule():
    assert list(ours.RULES) == NAMES


def test_every_problem_has_its_own_number_and_a_hint():
    source = Path(ours.__file__).read_text()

    assert len(ours.PROBLEMS) == len(re.findall(r"= problem\(", source))
    assert all(one.message and one.hint for one in ours.PROBLEMS.values())


def test_the_dict_must_be_one(settings):
    settings.DJANGO_JOBS = ["QUEUES"]

    assert "list" in found()["E001"].msg


def test_an_unknown_key_is_named_with_the_nearest(settings):
    settings.DJANGO_JOBS |= {"QUEUE": ["a"]}

    message = found()["E002"]
    assert '"QUEUE"' in message.msg
    assert '"QUEUES"' in message.hint


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("CACHE", 1),
        ("CACHE", ""),
        ("PREFIX", "a{b"),
        ("DATABASE", []),
        ("QUEUES", "default"),
        ("QUEUES", ["a b"]),
        ("QUEUES", ["x" * 65]),
        ("TASK_MODULES", "tasks"),
        ("TASK_MODULES", ["tasks.py/"]),
        ("PROCESSES", -1),
        ("PROCESSES", True),
        ("PROCESSES", "2"),
        ("THREADS", 0),
        ("ASYNC_SLOTS", 0),
        ("MAX_ATTEMPTS", 0),
        ("MAX_LOSSES", -1),
        ("BACKOFF", []),
        ("BACKOFF", "fast"),
        ("BACKOFF", [1, -1]),
        ("TIMEOUT", 0),
        ("TIMEOUT", timedelta(seconds=-1)),
        ("HARD_TIMEOUT_AFTER", None),
        ("GRACE", "25"),
        ("RETENTION", [7]),
        ("RETENTION", {"failed": -1}),
        ("MAX_ARGS_BYTES", 0),
        ("MAX_RESULT_BYTES", 1.5),
        ("SENSITIVE", "password"),
        ("UNKNOWN_TASK_AFTER", None),
        ("MIDDLEWARE", "shop.Tenants"),
    ],
)
def test_a_value_that_cannot_be_is_refused(settings, key, value):
    settings.DJANGO_JOBS |= {key: value}

    message = found()["E003"]
    assert f'DJANGO_JOBS["{key}"]' in message.msg
    assert message.hint.startswith("It must be")


@pytest.mark.parametrize(
    "values",
    [
        {"CACHE": None},
        {"PROCESSES": 0},
        {"MAX_ATTEMPTS": None},
        {"TIMEOUT": None},
        {"TIMEOUT": timedelta(minutes=5)},
        {"BACKOFF": [1, timedelta(minutes=2)]},
        {"BACKOFF": lambda exception, job: 1},
        {"RETENTION": {"failed": None, "succeeded": 0}},
        {"TASK_MODULES": ["tasks", "jobs.tasks"]},
        {"QUEUES": ("a", "b.c-d_1")},
    ],
)
def test_a_value_that_can_be_is_taken(settings, values):
    settings.DJANGO_JOBS |= values

    assert "E003" not in found()


def test_retention_of_an_unknown_state_is_refused(settings):
    settings.DJANGO_JOBS |= {"RETENTION": {"successful": 1}}

    assert "succeeded" in found()["E011"].hint


def test_a_cache_alias_that_is_missing_is_named(settings):
    settings.DJANGO_JOBS |= {"CACHE": "jobs"}

    assert '"jobs"' in found()["E004"].msg


@pytest.mark.parametrize(
    "backend",
    [
        "django.core.cache.backends.redis.RedisCache",
        "django.core.cache.backends.locmem.LocMemCache",
        "nowhere.Cache",
        "",
    ],
)
def test_a_cache_that_is_not_of_django_redis_is_refused(settings, backend):
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": "redis://127.0.0.1"}}

    assert "django_redis.cache.RedisCache" in found()["E005"].hint


@pytest.mark.parametrize("location", ["", "127.0.0.1:6379", None, ["redis://a", "b"]])
def test_a_location_that_is_no_url_is_refused(settings, location):
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": location}}

    assert "redis://" in found()["E006"].hint


SENTINEL = "django_redis.pool.SentinelConnectionFactory"
CLUSTER = "django_jobs.broker.ClusterConnectionFactory"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"CONNECTION_FACTORY": "nowhere.Factory"}, "nowhere"),
        ({"CONNECTION_FACTORY": SENTINEL}, "SENTINELS must be"),
        ({"CONNECTION_FACTORY": SENTINEL, "SENTINELS": ["host:26379"]}, "unpack"),
        ({"CONNECTION_FACTORY": CLUSTER, "NODES": ["host:6379"]}, "NODES must be"),
        ({"CONNECTION_POOL_CLASS": "redis.Nothing"}, "Nothing"),
    ],
)
def test_options_of_the_cache_that_cannot_be_are_refused_with_the_reason(settings, options, reason):
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1", "OPTIONS": options}}

    assert reason in found()["E013"].msg


@pytest.mark.parametrize(
    "options",
    [{}, {"CONNECTION_FACTORY": SENTINEL, "SENTINELS": [("127.0.0.1", 1)]}, {"CONNECTION_FACTORY": CLUSTER}],
)
def test_options_of_the_cache_that_can_be_are_taken(settings, options):
    settings.DJANGO_JOBS |= {"CACHE": "jobs"}
    settings.CACHES = {"jobs": {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1", "OPTIONS": options}}

    assert not found().keys() & {"E013", "W008"}


def test_a_cluster_as_the_default_cache_is_warned_of(settings):
    options = {"CONNECTION_FACTORY": CLUSTER}
    settings.CACHES = {"default": {"BACKEND": REDIS, "LOCATION": "redis://127.0.0.1", "OPTIONS": options}}

    assert 'alias of its own, say "jobs"' in found()["W008"].hint


@pytest.mark.parametrize(
    ("other", "is_shared"),
    [("redis://127.0.0.1/1", True), ("redis://127.0.0.1:6379/2", False), ("redis://10.0.0.1:6379/1", False)],
)
def test_another_cache_in_the_same_redis_database_is_named(settings, other, is_shared):
    settings.CACHES |= {"pages": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": other}}

    assert ("W001" in found()) is is_shared


def test_without_redis_no_cache_is_looked_at(settings):
    settings.DJANGO_JOBS |= {"CACHE": None}
    settings.CACHES = {}

    assert not found().keys() & {"E004", "E005", "E006"}


def test_a_database_alias_that_is_missing_is_named(settings):
    settings.DJANGO_JOBS |= {"DATABASE": "nowhere"}

    assert '"nowhere"' in found()["E007"].msg


class Refusing:
    """A router that keeps our tables away from everywhere."""

    def allow_migrate(self, db, app_label, **hints):
        return False


def test_routers_that_do_not_allow_our_tables_are_found(settings):
    settings.DATABASE_ROUTERS = [Refusing()]

    assert "E008" in found()


def test_naive_times_are_refused(settings):
    settings.USE_TZ = False

    assert found()["E009"].hint == "Set USE_TZ = True."


def test_middleware_that_cannot_be_imported_is_named(settings):
    settings.DJANGO_JOBS |= {"MIDDLEWARE": ["nowhere.Tenants"]}

    assert "\"nowhere.Tenants\", of which no object can be made: No module named 'nowhere'" in found()["E010"].msg


class NeedsTenant:
    def __init__(self, tenant): ...


def test_middleware_that_cannot_be_made_is_named(settings):
    settings.DJANGO_JOBS |= {"MIDDLEWARE": [f"{__name__}.NeedsTenant"]}

    message = found()["E010"]
    assert "missing 1 required positional argument: 'tenant'" in message.msg
    assert "its __init__ gets no arguments" in message.hint


@pytest.fixture
def sqlite(settings, tmp_path):
    """Options of an SQLite database that jobs live on; given to the check without connecting."""
    name = tmp_path / "db.sqlite3"
    sqlite3.connect(name).execute("CREATE TABLE a (b)")
    connections.databases["small"] = connections.databases["default"] | {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": name,
        "OPTIONS": {},
    }
    settings.DJANGO_JOBS |= {"DATABASE": "small"}
    yield connections["small"].settings_dict
    del connections.databases["small"]
    del connections["small"]


def test_sqlite_as_it_comes_is_warned_of(sqlite):
    assert {"W002", "W003", "W004"} <= set(found())


def test_sqlite_with_the_options_asked_for_is_fine(sqlite):
    sqlite["OPTIONS"] = {
        "init_command": "PRAGMA journal_mode=WAL",
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
    }

    assert not found().keys() & {"W002", "W003", "W004"}


def test_sqlite_whose_file_is_in_wal_mode_is_fine(sqlite):
    sqlite3.connect(sqlite["NAME"]).execute("PRAGMA journal_mode=WAL")

    assert "W002" not in found()


def test_sqlite_in_memory_is_left_alone(sqlite):
    sqlite["NAME"] = ":memory:"

    assert not found().keys() & {"W002", "W003", "W004"}


def test_old_sqlite_is_refused(sqlite, monkeypatch):
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 1))

    assert "E012" in found()


def test_mysql_is_called_experimental(monkeypatch):
    monkeypatch.setattr(connections["default"], "vendor", "mysql")

    assert "MariaDB 10.6" in found()["W005"].hint


def test_another_apps_runworker_is_warned_of(monkeypatch):
    monkeypatch.setattr(ours, "get_commands", lambda: {"runworker": "channels"})

    message = found()["W006"]
    assert "channels" in message.msg
    assert "manage.py jobs worker" in message.hint


def test_tasks_on_queues_that_are_not_known_are_named_by_one_warning(settings):
    settings.DJANGO_JOBS |= {"QUEUES": ["default", "report"]}
    task(queue_name="paper")(admin_tasks.for_superusers_only.func)

    (message,) = [one for one in ours.check_all() if one.id == "django_jobs.W007"]

    assert 'tests.app.admin_tasks.report uses "reports" (did you mean "report"?)' in message.msg
    assert 'tests.app.admin_tasks.for_superusers_only uses "paper"' in message.msg
    assert "framework_tasks" not in message.msg  # QUEUES of their alias are about those
    assert "QUEUES has default, report" in message.hint


def test_several_mistakes_are_told_together(settings):
    settings.DJANGO_JOBS = {"CACHE": 5, "QUEUES": 5, "MIDDLEWARE": 5, "RETENTION": 5, "DATABASE": 5, "oops": 5}

    ids = [message.id for message in ours.check_all()]
    assert ids.count("django_jobs.E003") == 5
    assert ids.count("django_jobs.E002") == 1


def test_manage_check_prints_what_to_do(settings):
    settings.DJANGO_JOBS |= {"QUEUE": []}

    with pytest.raises(management.CommandError, match="Did you mean"):
        management.call_command("check")
