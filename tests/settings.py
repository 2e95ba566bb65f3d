"""Django settings of the test suite; the servers start when these are read, see tests/services.py."""

import json
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import django

from tests import services

services.session()


def _server_database(url: str, engine: str, name: str) -> dict:
    parts = urlsplit(url)
    return {
        "ENGINE": engine,
        "NAME": name,
        "HOST": parts.hostname,
        "PORT": parts.port or "",
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "TEST": {"NAME": name},  # the same one, so that subprocesses work in the test's database
    }


def _sqlite_database(name: str) -> dict:
    folder = Path(os.environ["DJANGO_JOBS_TEST_FOLDER"])
    folder.mkdir(exist_ok=True)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": folder / f"{name}.sqlite3",
        "TEST": {"NAME": folder / f"{name}.sqlite3"},  # a file: worker processes share it
        "OPTIONS": {
            "timeout": float(os.environ.get("DJANGO_JOBS_TEST_SQLITE_TIMEOUT", 20)),
            "transaction_mode": "IMMEDIATE",
            "init_command": "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;",
        },
    }


def _database(name: str) -> dict:
    match os.environ["DJANGO_JOBS_TEST_DB"]:
        case "postgresql":
            return _server_database(os.environ["DJANGO_JOBS_TEST_POSTGRES"], "django.db.backends.postgresql", name)
        case "sqlite":
            return _sqlite_database(name)
        case url:
            return _server_database(url, f"django.db.backends.{urlsplit(url).scheme}", name)


DATABASES = {"default": _database("jobs"), "other": _database("jobs_other")}

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": os.environ["DJANGO_JOBS_TEST_REDIS"],
        "OPTIONS": json.loads(os.environ.get("DJANGO_JOBS_TEST_REDIS_OPTIONS", "{}")),
    }
}

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_jobs",
    "tests.app",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "tests.served.at_a_moment",
    "tests.served.strictly",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # quick logins
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "tests.urls"
SECRET_KEY = "only for tests"
STATIC_URL = "/static/"
TIME_ZONE = "Europe/Berlin"  # one with clock changes
USE_TZ = True

DJANGO_JOBS_ALLOW_FAILPOINTS = True


# What tests of real workers change from outside.
QUEUES = os.environ.get("DJANGO_JOBS_TEST_QUEUES", "default mail").split()
DJANGO_JOBS = {
    "QUEUES": QUEUES,
    "TASK_MODULES": os.environ.get(
        "DJANGO_JOBS_TEST_MODULES", "tasks hardening_tasks fault_tasks framework_tasks"
    ).split(),
    "CACHE": None if os.environ.get("DJANGO_JOBS_TEST_CACHE") == "none" else "default",
    "HARD_TIMEOUT_AFTER": float(os.environ.get("DJANGO_JOBS_TEST_HARD_TIMEOUT_AFTER", 10)),
}
FRAMEWORK = "django.tasks" if django.VERSION >= (6, 0) else "django_tasks"
TASKS = {
    "default": {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": QUEUES},
    "second": {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": QUEUES[-1:]},
    "immediate": {"BACKEND": "django_jobs.backend.ImmediateBackend"},
    "dummy": {"BACKEND": "django_jobs.backend.DummyBackend", "QUEUES": []},
    "foreign": {"BACKEND": f"{FRAMEWORK}.backends.dummy.DummyBackend", "QUEUES": []},
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {FRAMEWORK: {"handlers": ["console"], "level": "INFO"}},
}
if module := os.environ.get("DJANGO_JOBS_TEST_IMPORT"):
    __import__(module)
