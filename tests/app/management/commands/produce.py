"""Enqueues jobs until it is killed, in transactions of all kinds; told to by the fault suite."""

from __future__ import annotations

import random
import time
from contextlib import suppress

from django.core.management.base import BaseCommand
from django.db import DatabaseError, connection, transaction

from django_jobs import states
from django_jobs.models import Job
from tests.app import tasks


class RolledBack(Exception):
    """On purpose."""


class Command(BaseCommand):
    def add_arguments(self, parser):
        parser.add_argument("--seed", type=int, default=0)
        parser.add_argument("--count", type=int, default=0, help="Transactions; 0: until killed.")

    def handle(self, *args, seed, count, **options):
        chance = random.Random(seed)
        done = 0
        while not count or done < count:
            done += 1
            if done % 20 == 0:
                self.wait_for_workers()
            with suppress(RolledBack):
                try:
                    self.one_transaction(chance)
                except DatabaseError:
                    connection.close()
                    time.sleep(0.1)

    def wait_for_workers(self):
        """Let no backlog grow that would take longer to work off than a test lasts."""
        with suppress(DatabaseError):
            while Job.objects.filter(state=states.QUEUED).count() > 300:
                time.sleep(0.2)
        connection.close_if_unusable_or_obsolete()

    def one_transaction(self, chance):
        seconds = chance.choice([0, 0, 0, 0.01, 0.05, 0.3])
        match chance.randrange(5):
            case 0:
                with transaction.atomic():
                    job = tasks.log_start_and_end.enqueue(seconds)
                    tasks.log(f"rolledback {job.id} 0")
                    raise RolledBack
            case 1:
                with transaction.atomic():
                    tasks.log_start_and_end.enqueue_many([{"seconds": seconds}] * chance.randint(1, 20))
            case 2:
                tasks.log_start_and_end.using(priority=chance.choice([-5, 5])).enqueue(seconds)
            case _:
                tasks.log_start_and_end.enqueue(seconds)
        time.sleep(chance.random() * 0.02)
