"""Makes the rows of schedules that the code declares say what the code says, but for what people have changed."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext_noop

from ..models import Schedule, database
from ..models.schedule import RULES
from ..tasks import registry

logger = logging.getLogger("django_jobs.scheduler")

REMOVED = gettext_noop("It was removed from the code.")
# What a person has changed in part is the person's as a whole: two rules at once would be none.
TOGETHER = [set(RULES), {"task_path", "args", "kwargs"}]


@dataclass(frozen=True, kw_only=True)
class Synced:
    """The keys of schedules that were made, changed and switched off."""

    created: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


def sync(*, dry_run: bool = False) -> Synced:
    """Make, change and switch off the rows of declared schedules; return which. With nothing new one query does."""
    declared = registry.declared_schedules()
    rows = {row.key: row for row in Schedule.objects.filter(key__isnull=False)}
    done = Synced(
        created=[key for key in declared if key not in rows],
        changed=[key for key, row in rows.items() if key in declared and row.declared != declared[key]],
        removed=[key for key, row in rows.items() if key not in declared and not row.is_removed],
    )
    if dry_run:
        return done
    for key in done.created:
        _try(_create, key, declared[key])
    for key in done.changed:
        _try(_change, key, declared[key])
    for key in done.removed:
        _try(_remove, key)
    for verb, keys in vars(done).items():
        if keys:
            logger.info("schedules of the code, %s: %s", verb, ", ".join(keys))
    return done


def _try(act: Callable[..., None], key: str, *values: dict[str, Any]) -> None:
    """Act on one schedule; one whose rule is not valid keeps no other from its row."""
    try:
        act(key, *values)
    except ValueError as error:
        logger.error("the schedule %s of the code cannot be kept: %s", key, error)


def restore(schedule: Schedule) -> None:
    """Set a schedule back to what the code says."""
    with transaction.atomic(using=database()):
        row = Schedule.objects.select_for_update().get(pk=schedule.pk)
        for name, value in (row.declared or {}).items():
            setattr(row, name, value)
        row.save()


def _create(key: str, values: dict[str, Any]) -> None:
    name = key[: Schedule._meta.get_field("name").max_length]
    if Schedule.objects.filter(name=name).exists():
        name = f"{name[:180]} (from the code)"
    try:
        with transaction.atomic(using=database()):
            Schedule(key=key, name=name, declared=values, **values).save()
    except IntegrityError:
        if not Schedule.objects.filter(key=key).exists():  # else another worker has made it just now
            raise


def _change(key: str, values: dict[str, Any]) -> None:
    """Take over what the code says where nobody has said otherwise."""
    with transaction.atomic(using=database()):
        row = Schedule.objects.select_for_update().filter(key=key).first()
        if row is None or row.declared == values:
            return
        if row.is_removed and row.note == REMOVED:
            row.enabled = True
        kept = _with_neighbours(set(row.overrides))
        for name, value in values.items():
            if name not in kept:
                setattr(row, name, value)
        row.declared = values
        row.save()


def _with_neighbours(names: set[str]) -> set[str]:
    return names.union(*(group for group in TOGETHER if group & names))


def _remove(key: str) -> None:
    with transaction.atomic(using=database()):
        row = Schedule.objects.select_for_update().filter(key=key, declared__isnull=False).first()
        if row is None:
            return
        if row.enabled:
            row.enabled, row.note = False, REMOVED
        row.declared = None
        row.save()
