"""Settings under which Django's tests of its Tasks framework run, and the worker that runs their tasks."""

import os

from tests.settings import *  # noqa: F403

INSTALLED_APPS = ["django_jobs", "tests.app", "tasks"]  # the last is Django's: tests/tasks of its source release
ROOT_URLCONF = "tests.djangosuite.settings"
urlpatterns = []

DJANGO_JOBS = {"QUEUES": [], "TASK_MODULES": ["tasks"]}
TASKS = {alias: {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": []} for alias in ("default", "immediate")}

if port := os.environ.get("DJANGOSUITE_LOG_PORT"):  # in the worker, whose log lines the tests want to see
    LOGGING = {
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {
            "tests": {"class": "logging.handlers.SocketHandler", "host": "127.0.0.1", "port": int(port)},
        },
        "loggers": {"django.tasks": {"handlers": ["tests"], "level": "DEBUG"}},
    }
else:
    LOGGING = {}
