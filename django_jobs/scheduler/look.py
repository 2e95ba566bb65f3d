"""Asks, with one statement, when each chore has something to do next: mostly none has, for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from functools import cached_property
from typing import Any

from django.db import connections

from ..models import DbNow, database
from .chore import Chore

NOW = DbNow()


class Look:
    """One question for several chores; its text is made once, since the database's clock is all that changes."""

    def __init__(self, chores: Sequence[Chore], ahead: timedelta):
        self._chores = chores
        self._ahead = ahead

    def __call__(self) -> dict[str, float]:
        """Return the names of the chores for which there are rows, and in how many seconds the first of them is due."""
        connection = connections[database()]
        with connection.cursor() as cursor:
            cursor.execute(*self._statement)
            now, *moments = (self._moment(value, connection) for value in cursor.fetchone())
        found = zip(self._chores, moments, strict=True)
        return {chore.name: (moment - now).total_seconds() for chore, moment in found if moment is not None}

    def _moment(self, value: Any, connection: Any) -> Any:
        for convert in connection.ops.get_db_converters(NOW):
            value = convert(value, NOW, connection)
        return value

    @cached_property
    def _statement(self) -> tuple[str, list]:
        compiler = next(iter(self._chores)).rows(self._ahead).query.get_compiler(using=database())
        text, params = compiler.compile(NOW)
        texts, params = [text], list(params)
        for chore in self._chores:
            first = chore.rows(self._ahead).values_list(chore.moment or NOW)[:1]  # not EXISTS: it would drop the order
            text, its_params = first.query.get_compiler(using=database()).as_sql()
            texts.append(f"({text})")
            params += its_params
        return f"SELECT {', '.join(texts)}", params
