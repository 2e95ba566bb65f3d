"""The suite's own app."""

import os

from django.apps import AppConfig


class TestsAppConfig(AppConfig):
    name = "tests.app"
    label = "tests_app"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        if os.environ.get("DJANGO_JOBS_TEST_BREAK_CHILDREN"):
            from django_jobs.signals import worker_started

            worker_started.connect(_break, weak=False)


def _break(**_):
    os._exit(1)
