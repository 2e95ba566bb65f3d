"""The fixture ``jobs`` for pytest: ``django_jobs.testing``, with no Redis asked for."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

import pytest


@pytest.fixture
def jobs() -> Iterator[ModuleType]:
    """``django_jobs.testing``, while jobs are not sent to Redis. Your test needs its database as always."""
    from . import testing  # here: pytest loads this module in projects that have no settings

    with testing.without_redis():
        yield testing
