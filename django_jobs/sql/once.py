"""An update by the ORM whose text is made once: making it takes longer than the database needs to carry it out."""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.models import QuerySet
from django.db.models.sql import UpdateQuery


class Update:
    """Does as ``rows.update(**changes)``, again and again; what differs each time stands as a marker in the changes."""

    def __init__(self, rows: QuerySet, **changes: Any):
        query = rows.query.chain(UpdateQuery)
        query.add_update_values(changes)
        self._alias = rows.db
        self._text, self._params = query.get_compiler(using=self._alias).as_sql()

    def __call__(self, marker: Any = None, value: Any = None) -> int:
        """Update with ``value``, as the database takes it, for the marker; return how many rows there were."""
        params = [value if param is marker and marker is not None else param for param in self._params]
        with connections[self._alias].cursor() as cursor:
            cursor.execute(self._text, params)
            return cursor.rowcount
