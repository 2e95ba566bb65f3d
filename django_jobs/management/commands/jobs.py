"""``manage.py jobs <verb>``: everything that operators do from a shell."""

from __future__ import annotations

import argparse
import json
import sys
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.core.management.base import BaseCommand, CommandParser

from django_jobs.management import schedule_verbs, worker_command
from django_jobs.management.verbs import VERBS
from django_jobs.plain import escaped


class Command(BaseCommand):
    help = "Look at background jobs and act on them."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="verb")
        worker = verbs.add_parser("worker", help="Run jobs; the same as runworker.")
        worker_command.add_arguments(worker)
        for name, verb in VERBS.items():
            sub = verbs.add_parser(name, help=verb.__doc__)
            sub.add_argument("--json", action="store_true", help="Write one JSON object.")
            if name in ("retry", "cancel"):
                add_choice(sub)
            if name in ("pause", "resume"):
                sub.add_argument("queues", nargs="+", metavar="queue", help="Names of queues.")
            if name == "explain":
                sub.add_argument("id", type=UUID, help="Id of a job.")
            if name == "schedules":
                schedule_verbs.add_arguments(sub)
            if name == "pause":
                sub.add_argument("--reason", default="", help="Shown in the admin.")

    def handle(self, *args: Any, **options: Any) -> None:
        verb = options["verb"]
        if verb == "worker":
            worker_command.run(stdout=self.stdout, **options)
            return
        told = VERBS[verb](options)
        if options["json"]:
            self.stdout.write(json.dumps(told, default=str))
        else:
            for name, value in told.items():
                self.stdout.write(f"{escaped(name)}: {in_words(value)}")
        if told.get("healthy") is False:
            sys.exit(1)


def add_choice(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", nargs="*", type=UUID, metavar="id", help="Ids of jobs.")
    parser.add_argument("--task", help="Jobs of this task, by its path such as shop.tasks.send_invoice.")
    parser.add_argument("--queue", help="Jobs of this queue.")
    parser.add_argument("--before", type=moment, metavar="TIME", help="Jobs enqueued before, in ISO 8601 (UTC).")
    parser.add_argument("--all", action="store_true", help="All jobs that it can be done to.")
    parser.add_argument("--dry-run", action="store_true", help="Only say how many.")


def moment(text: str) -> datetime:
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f'"{text}" is not a time such as 2026-01-31T12:00') from None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)


def in_words(value: Any) -> str:
    match value:
        case list():
            return "; ".join(map(in_words, value)) or "none"
        case dict():
            return ", ".join(f"{escaped(name)} {in_words(part)}" for name, part in value.items())
        case bool():
            return "yes" if value else "no"
    return escaped(str(value))
