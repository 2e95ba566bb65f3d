"""Tasks with all kinds of signatures, for the tests of forms; in a module that is not among TASK_MODULES."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Literal
from uuid import UUID

from django_jobs import task


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@task(admin=True)
def many_kinds(
    number: int,
    amount: Decimal,
    day: date,
    moment: datetime,
    length: timedelta,
    key: UUID,
    colour: Literal["red", "green"],
    size: Size,
    tags: list[str],
    sure: bool = True,
    note: str | None = None,
): ...


@task(admin=True)
def positional(first: int, /, second, *rest, **options): ...


@task(admin=True)
def nothing():
    raise AssertionError("a page has called the task")
