"""What ``manage.py jobs schedules`` does: each act takes the parsed options and returns what there is to tell."""

from __future__ import annotations

import argparse
import getpass
from collections.abc import Callable
from difflib import get_close_matches
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError

from ..exceptions import JobsError
from ..models import Schedule, database, db_now
from ..scheduler.preview import coming, in_zone
from ..scheduler.produce import run_now
from ..scheduler.sync import sync
from ..scheduler.words import sentence
from . import beat

Options = dict[str, Any]


def schedules(options: Options) -> dict[str, Any]:
    """List the schedules and when each is due next, and act on them."""
    return ACTS[options["act"] or "list"](options)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the acts, each with its arguments."""
    acts = parser.add_subparsers(dest="act", metavar="act")
    for name, act in ACTS.items():
        sub = acts.add_parser(name, help=act.__doc__)
        # Said before the act or after it: a default here would take back what was said before.
        sub.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="Write one JSON object.")
        if name in ("show", "run", "pause", "resume"):
            sub.add_argument("names", nargs="+", metavar="name", help="Names or keys of schedules.")
        if name == "show":
            sub.add_argument("--next", type=int, default=5, metavar="N", help="How many runs to show. Default: 5.")
        if name in ("sync", "import"):
            sub.add_argument("--dry-run", action="store_true", help="Only say what would be done.")
        if name == "import":
            sub.add_argument(
                "--wait",
                type=float,
                default=beat.WAIT_SECONDS,
                metavar="SECONDS",
                help="How long a running beat is given to notice. 0 when none is running.",
            )


def list_all(options: Options) -> dict[str, Any]:
    """List the schedules and when each is due next."""
    return {schedule.name: _in_short(schedule) for schedule in Schedule.objects.order_by("name")}


def show(options: Options) -> dict[str, Any]:
    """Show the next runs of schedules."""
    now = db_now()
    return {
        schedule.name: _in_short(schedule)
        | {"next": [in_zone(schedule, moment) for moment in coming(schedule, now, max(1, options["next"]))]}
        for schedule in _named(options["names"])
    }


def run(options: Options) -> dict[str, Any]:
    """Make a job of schedules at once, besides those that are due."""
    made = {}
    for schedule in _named(options["names"]):
        try:
            made[schedule.name] = str(run_now(schedule, by=getpass.getuser()).pk)
        except (JobsError, TypeError) as error:
            raise CommandError(f"{schedule.name}: {error}", returncode=1) from None
    return {"made": made}


def pause(options: Options) -> dict[str, Any]:
    """Switch schedules off; their history is kept."""
    return {"paused": _switch(options["names"], False)}


def resume(options: Options) -> dict[str, Any]:
    """Switch schedules on; what they missed meanwhile is not made up for."""
    return {"resumed": _switch(options["names"], True)}


def sync_with_code(options: Options) -> dict[str, Any]:
    """Make the schedules that the code declares, as workers do when they start."""
    return vars(sync(dry_run=options["dry_run"]))


def import_from_beat(options: Options) -> dict[str, Any]:
    """Take over the schedules of django-celery-beat."""
    return beat.take_over(dry_run=options["dry_run"], wait=options["wait"])


ACTS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "list": list_all,
    "show": show,
    "run": run,
    "pause": pause,
    "resume": resume,
    "sync": sync_with_code,
    "import": import_from_beat,
}


def _in_short(schedule: Schedule) -> dict[str, Any]:
    return {
        "task": schedule.task_path,
        "rule": schedule.cron or str(schedule.every or schedule.once_at),
        "when": sentence(schedule),
        "enabled": schedule.enabled,
        "note": schedule.note,
        "next": schedule.next_due_at,
    }


def _named(names: list[str]) -> list[Schedule]:
    """Return the schedules of those names or keys; refuse one that there is not, with the nearest."""
    return [_one(name) for name in names]


def _one(name: str) -> Schedule:
    found = Schedule.objects.filter(name=name).first() or Schedule.objects.filter(key=name).first()
    if found is None:
        near = get_close_matches(name, Schedule.objects.values_list("name", flat=True), n=1)
        hint = f' Did you mean "{near[0]}"?' if near else ""
        raise CommandError(f'There is no schedule "{name}".{hint}', returncode=2)
    return found


def _switch(names: list[str], enabled: bool) -> list[str]:
    changed = []
    for schedule in _named(names):
        if schedule.enabled != enabled:
            schedule.enabled = enabled
            try:
                if enabled:
                    schedule.full_clean()
            except ValidationError as error:
                raise CommandError(f"{schedule.name}: {' '.join(error.messages)}", returncode=1) from None
            schedule.save(using=database(), update_fields=["enabled"])
            changed.append(schedule.name)
    return changed
