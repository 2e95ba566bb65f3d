"""``manage.py runworker``: the whole system."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from django_jobs.management import worker_command


class Command(BaseCommand):
    help = "Run background jobs: workers, scheduler, rescue and pruning, until Ctrl+C or SIGTERM."

    def add_arguments(self, parser: CommandParser) -> None:
        worker_command.add_arguments(parser)

    def handle(self, *args: Any, **options: Any) -> None:
        worker_command.run(stdout=self.stdout, **options)
