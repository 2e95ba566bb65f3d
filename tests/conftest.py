"""Fixtures for all tests.

Tests that run real workers need committed data and an empty Redis::

    @pytest.mark.django_db(transaction=True)
    def test_a_job_is_run(redis_clean, manage): ...
"""

from __future__ import annotations

import contextlib
import os

import pytest
import redis

from tests import services


@pytest.fixture
def redis_clean():
    """Empty the run's Valkey before the test, and return a client of it."""
    with redis.Redis.from_url(os.environ["DJANGO_JOBS_TEST_REDIS"]) as client:
        client.flushall()
        yield client


@pytest.fixture
def valkey():
    """The run's Valkey, to stop, kill or pause; the test's end finds it running again."""
    yield from _running_again(services.session().valkey)


@pytest.fixture
def postgres():
    """The run's PostgreSQL, to restart or pause; the test's end finds it running again."""
    yield from _running_again(services.session().postgres)


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


def pytest_runtest_setup(item):
    from django.db import connection  # here: settings must be loaded first

    for vendor in ("postgresql", "sqlite"):
        if item.get_closest_marker(vendor) and connection.vendor != vendor:
            pytest.skip(f"needs {vendor}")


def pytest_report_header():
    database = os.environ.get("DJANGO_JOBS_TEST_DB")
    return f"django_jobs: database {database}, Redis {os.environ.get('DJANGO_JOBS_TEST_REDIS')}"
