"""Fixtures for all tests.

Tests that run real workers need committed data and an empty Redis::

    @pytest.mark.django_db(transaction=True)
    def test_a_job_is_run(redis_clean, manage): ...
"""

from __future__ import annotations

import contextlib
import os

import hypothesis
import pytest
import redis

from tests import services
from tests.browser.site import CHROMIUM

# How long one example takes says nothing: what else the machine does counts, too.
hypothesis.settings.register_profile("suite", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("suite")


@pytest.fixture(scope="session")
def django_db_modify_db_settings_xdist_suffix():
    """Leave the databases' names alone: each of pytest-xdist's workers has servers of its own."""


@pytest.fixture
def redis_clean():
    """Empty the run's Valkey before the test, and return a client of it; this process has not met Redis yet."""
    from django_jobs import broker  # here: settings must be loaded first

    broker._producers.clear()
    with redis.Redis.from_url(os.environ["DJANGO_JOBS_TEST_REDIS"]) as client:
        client.flushall()
        yield client


@pytest.fixture
def patience(monkeypatch):
    """Let this process wait for Redis for longer than a page may: no busy machine passes for a Redis that is away."""
    from django_jobs import broker  # here: settings must be loaded first
    from django_jobs.broker.connection import LOOK, PRODUCER

    monkeypatch.setattr(broker, "_producers", {})
    monkeypatch.setattr(broker, "AT_ONCE", 5)
    for timeouts in (LOOK, PRODUCER):
        for name in timeouts:
            monkeypatch.setitem(timeouts, name, 5)


@pytest.fixture
def valkey():
    """The run's Valkey, to stop, kill or pause; the test's end finds it running again, and nobody waiting for that."""
    from django_jobs import broker  # here: settings must be loaded first

    yield from _running_again(services.session().valkey)
    broker._producers.clear()  # whose breaker may be open


@pytest.fixture
def postgres():
    """The run's PostgreSQL, to restart or pause; the test's end finds it running again, and no connection cut."""
    from django.db import connections  # here: settings must be loaded first

    yield from _running_again(services.session().postgres)
    connections.close_all()


def _running_again(server):
    if server is None:
        pytest.skip("this run has no such server of its own")
    yield server
    if server.is_running():
        server.resume()
    else:
        server.start()


@pytest.fixture
def manage():
    """A function that starts ``tests/manage.py`` in a subprocess, killed at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda *arguments, **environment: stack.enter_context(services.manage(*arguments, **environment))


def pytest_collection_modifyitems(config, items):
    """Leave out what another database is for (the suite runs on that one, too), or a browser that is not here."""
    from django.db import connection  # here: settings must be loaded first

    others = {"postgresql", "sqlite"} - {connection.vendor}
    left_out = [
        item
        for item in items
        if any(item.get_closest_marker(vendor) for vendor in others)
        or ("browser" in item.fixturenames and CHROMIUM is None)
    ]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


def pytest_terminal_summary(terminalreporter, config):
    if CHROMIUM is None and "not once" not in config.option.markexpr:
        terminalreporter.write_line("No Chromium on this machine: the tests in a real browser were left out.")


def pytest_report_header():
    database = os.environ.get("DJANGO_JOBS_TEST_DB")
    return f"django_jobs: database {database}, Redis {os.environ.get('DJANGO_JOBS_TEST_REDIS')}"
