"""Takes over the schedules of django-celery-beat, so that each of their moments makes one run and not two.

Theirs get a start years ahead and ours are made, still off, in one transaction. A beat that runs notices
within its interval, and writes down what it sent last; only after that time are theirs switched off and ours
switched on, from the last run that beat knows of. (Beat forgets the last run of an entry that is off, so that
cannot come first.) Whoever stops half-way starts the command again: it goes on where it was.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.management.base import CommandError
from django.db import transaction
from django.utils.translation import gettext_noop

from ..exceptions import InvalidTask, TaskNotFound
from ..models import Schedule, database, db_now
from ..tasks import registry
from ..tasks.options import check_queue

WAIT_SECONDS = 8.0  # beat looks for changes every five seconds
HOLD = timedelta(days=3650)
TAKING_OVER = gettext_noop("It is being taken over from django-celery-beat: run the import again.")

RAN_THERE = gettext_noop("Its only run was made by django-celery-beat.")


class NotImportable(Exception):
    """Says why an entry stays with beat."""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One entry of beat as a schedule of ours, not saved, with what is lost on the way."""

    entry: Any
    schedule: Schedule
    remarks: list[str] = field(default_factory=list)


def take_over(*, dry_run: bool, wait: float) -> dict[str, Any]:
    """Import what can be imported; return what was, what was not and why, and what to know."""
    entries = list(_entries())
    begun = {row.name for row in Schedule.objects.filter(enabled=False, note=TAKING_OVER)}
    candidates, refused = [], {}
    for entry in entries:
        try:
            if entry.name not in begun:
                candidates.append(_candidate(entry))
        except NotImportable as error:
            refused[entry.name] = str(error)
    told = {
        "imported": sorted({one.schedule.name for one in candidates} | begun),
        "refused": refused,
        "remarks": {one.schedule.name: one.remarks for one in candidates if one.remarks},
    }
    if dry_run:
        return {"would_import": told.pop("imported"), **told}
    _begin(candidates)
    running = [entry for entry in entries if entry.name in told["imported"]]
    if running:
        time.sleep(wait)
    for entry in running:
        _finish(entry)
    return told


def _entries() -> Iterator[Any]:
    if not apps.is_installed("django_celery_beat"):
        raise CommandError(
            "django_celery_beat is not among INSTALLED_APPS, so its tables cannot be read: add it for the import.",
            returncode=2,
        )
    entries = apps.get_model("django_celery_beat", "PeriodicTask").objects
    yield from entries.select_related("crontab", "interval", "clocked", "solar").order_by("name")


def _begin(candidates: list[Candidate]) -> None:
    """Hold theirs, and make ours, off."""
    with transaction.atomic(using=database()):
        held_until = db_now() + HOLD
        for one in candidates:
            if one.schedule.enabled:
                one.schedule.enabled, one.schedule.note = False, TAKING_OVER
                one.entry.start_time = held_until
                one.entry.save(update_fields=["start_time"])  # its signal tells a running beat
            one.schedule.save()


def _finish(entry: Any) -> None:
    """Switch theirs off and ours on, from the last run that beat has written down by now."""
    entry.refresh_from_db()
    with transaction.atomic(using=database()):
        schedule = Schedule.objects.select_for_update().filter(name=entry.name, note=TAKING_OVER, enabled=False).first()
        if schedule is None:
            return
        _switch_off(entry, schedule.starts_at)
        if entry.last_run_at:
            schedule.last_run_at = schedule.last_due_at = entry.last_run_at
            if schedule.every:
                schedule.starts_at = max(filter(None, (schedule.starts_at, entry.last_run_at)))
        schedule.enabled = not _has_run_once(entry)
        schedule.note = "" if schedule.enabled else RAN_THERE
        schedule.save()
        if schedule.enabled:  # a moment since the take-over that beat did not send any more is ours, though it is past
            since = max(filter(None, (entry.last_run_at, schedule.created_at)))
            Schedule.objects.filter(pk=schedule.pk).update(next_due_at=schedule.moment_after(since))


def _switch_off(entry: Any, start_time: datetime | None) -> None:
    """Leave the entry as it was, but off: by a statement, since its save() would forget the last run."""
    type(entry).objects.filter(pk=entry.pk).update(enabled=False, start_time=start_time)
    apps.get_model("django_celery_beat", "PeriodicTasks").update_changed()


def _has_run_once(entry: Any) -> bool:
    return entry.one_off and entry.total_run_count > 0


def _candidate(entry: Any) -> Candidate:
    """Return the entry as a schedule; raise NotImportable with the reason why it cannot be one."""
    if Schedule.objects.filter(name=entry.name).exists():
        raise NotImportable("A schedule of this name is here already.")
    remarks: list[str] = []
    schedule = Schedule(
        name=entry.name,
        enabled=entry.enabled and not _has_run_once(entry),
        starts_at=entry.start_time,
        ends_at=entry.expires,
        last_run_at=entry.last_run_at,
        last_due_at=entry.last_run_at,
        max_runs=1 if entry.one_off and not entry.clocked else None,
        **_rule(entry),
        **_call(entry),
        **_queue(entry, remarks),
    )
    if entry.expire_seconds:
        remarks.append(f'Its jobs expired after {entry.expire_seconds} s: set "expires" on the task.')
    if entry.priority is not None:
        remarks.append("Its priority is left out: Celery's numbers mean something else with every broker.")
    if entry.headers not in ("", "{}"):
        remarks.append("Its headers are left out.")
    try:
        schedule.full_clean(validate_unique=False)
    except ValidationError as error:
        raise NotImportable(" ".join(error.messages)) from None
    return Candidate(entry=entry, schedule=schedule, remarks=remarks)


def _rule(entry: Any) -> dict[str, Any]:
    if entry.solar:
        raise NotImportable(f"Solar schedules ({entry.solar.event}) are not supported: run by the clock.")
    if entry.crontab:
        return {"cron": _cron(entry.crontab), "timezone": str(entry.crontab.timezone)}
    if entry.interval:
        return {"every": timedelta(**{entry.interval.period: entry.interval.every})}
    if entry.clocked:
        return {"once_at": entry.clocked.clocked_time}
    raise NotImportable("It has no schedule.")


def _cron(crontab: Any) -> str:
    fields = [
        _short_names(re.sub(r"\s+", "", text))
        for text in (
            crontab.minute,
            crontab.hour,
            crontab.day_of_month,
            crontab.month_of_year,
            crontab.day_of_week,
        )
    ]
    if "*" not in (fields[2], fields[4]):
        raise NotImportable(
            f"Day of month {fields[2]} and day of week {fields[4]} are both given: Celery runs where both match, "
            "cron where either does. Give one, and let the task look at the other."
        )
    return " ".join(fields)


def _short_names(text: str) -> str:
    """Return a field with names as cron has them: Celery also takes "monday" and "january"."""
    return re.sub(r"[A-Za-z]+", lambda found: found[0][:3].lower(), text)


def _call(entry: Any) -> dict[str, Any]:
    try:
        task = registry.get(entry.task)
    except TaskNotFound as error:
        raise NotImportable(
            f'{str(error).capitalize()} Decorate the function with @task, with aliases=["{entry.task}"] if its path '
            "is another."
        ) from None
    try:
        args, kwargs = json.loads(entry.args or "[]"), json.loads(entry.kwargs or "{}")
        if not isinstance(args, list) or not isinstance(kwargs, dict):
            raise ValueError("a list and an object are wanted")
        task.bind(args, kwargs)
    except (ValueError, TypeError) as error:
        raise NotImportable(f"Its arguments do not fit: {error}") from None
    return {"task_path": task.module_path, "args": args, "kwargs": kwargs}


def _queue(entry: Any, remarks: list[str]) -> dict[str, Any]:
    if entry.exchange or entry.routing_key:
        remarks.append("Its exchange and routing key are left out.")
    if not entry.queue:
        return {}
    try:
        check_queue(entry.queue)
    except InvalidTask as error:
        remarks.append(f"{str(error).capitalize()}")
    return {"queue_name": entry.queue}
