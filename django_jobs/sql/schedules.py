"""Writes what is due next of many schedules: one small statement for each, all sent together."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections

from ..models import Schedule


def advance(alias: str, schedules: Sequence[Schedule], columns: Sequence[str]) -> None:
    """Write those columns of rows that the caller has locked.

    A CASE for every column, as bulk_update makes it, took three times as long with 250 rows.
    """
    connection = connections[alias]
    fields = [Schedule._meta.get_field(name) for name in columns]
    quote = connection.ops.quote_name
    assignments = ", ".join(f"{quote(field.column)} = %s" for field in fields)
    statement = f"UPDATE {quote(Schedule._meta.db_table)} SET {assignments} WHERE {quote('id')} = %s"
    rows = [
        [*(field.get_db_prep_save(field.value_from_object(one), connection) for field in fields), one.pk]
        for one in schedules
    ]
    with connection.cursor() as cursor:
        cursor.executemany(statement, rows)
