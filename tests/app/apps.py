"""The suite's own app."""

import os
import sys

from django.apps import AppConfig


class TestsAppConfig(AppConfig):
    name = "tests.app"
    label = "tests_app"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self):
        if os.environ.get("DJANGO_JOBS_TEST_BREAK_CHILDREN"):
            from django_jobs.signals import worker_started

            worker_started.connect(_break, weak=False)
        if os.environ.get("DJANGO_JOBS_TEST_HURRY"):
            from django_jobs.scheduler import reconcile
            from django_jobs.worker import clerk

            sys.modules[reconcile.Reconcile.__module__].AUDIT_SECONDS = 0.5
            clerk.IDLE_SWEEP_SECONDS = 1.0


def _break(**_):
    os._exit(1)
