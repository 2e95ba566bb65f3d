"""The statements of the hot path: one set for PostgreSQL, and a portable one beside it.

Both offer ``insert``, ``claim`` and ``record`` with the same meaning and pass the same tests.
"""

from __future__ import annotations

from functools import cache
from types import ModuleType

from django.db import connections

from . import portable, postgresql


@cache
def statements(alias: str) -> ModuleType:
    """Return the module whose statements suit the database behind the alias."""
    return postgresql if connections[alias].vendor == "postgresql" else portable
