"""Counts that cost the same with a thousand rows and with a million: nobody reads beyond the cap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connections, models

from ..models import database

CAP = 10_000


def capped_counts(querysets: Mapping[Any, models.QuerySet]) -> dict[Any, int]:
    """Return the number of rows of each, or CAP where there are more, by one query."""
    connection = connections[database()]
    parts, params = [], []
    for number, rows in enumerate(querysets.values()):
        query = rows.using(connection.alias).order_by().values("pk")[:CAP].query
        try:
            sql, values = query.get_compiler(connection=connection).as_sql()
        except EmptyResultSet:
            sql, values = "SELECT 1 WHERE 1 = 0", ()
        parts.append(f"(SELECT COUNT(*) FROM ({sql}) counted_{number})")
        params += values
    if not parts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(parts)}", params)
        return dict(zip(querysets, cursor.fetchone(), strict=True))


def in_words(count: int) -> str:
    return f"{CAP:,}+" if count >= CAP else f"{count:,}"
