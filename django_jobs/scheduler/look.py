"""Asks, with one statement, which chores have anything to do: most of the time none has."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from django.db import connections

from ..models import database
from .chore import Chore


class Look:
    """One question for several chores; its text is made once, since the database's clock is all that changes."""

    def __init__(self, chores: Sequence[Chore]):
        self._chores = chores

    def __call__(self) -> set[str]:
        """Return the names of the chores for which there are rows."""
        with connections[database()].cursor() as cursor:
            cursor.execute(*self._statement)
            found = cursor.fetchone()
        return {chore.name for chore, first in zip(self._chores, found, strict=True) if first is not None}

    @cached_property
    def _statement(self) -> tuple[str, list]:
        texts, params = [], []
        for chore in self._chores:
            first = chore.rows().values_list("pk", flat=True)[:1]  # not EXISTS, which would drop the order
            text, its_params = first.query.get_compiler(using=database()).as_sql()
            texts.append(f"({text})")
            params += its_params
        return f"SELECT {', '.join(texts)}", params
