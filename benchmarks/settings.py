"""The Django project that every peer works in; the environment says which one, and where the servers are."""

import os
from urllib.parse import urlsplit

from benchmarks.peers import PEERS

PEER = PEERS[os.environ["BENCH_PEER"]]
REDIS = os.environ["BENCH_REDIS"]
_postgres = urlsplit(os.environ["BENCH_POSTGRES"])

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    *PEER.apps,
]
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
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
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": _postgres.path[1:],
        "HOST": _postgres.hostname,
        "PORT": _postgres.port,
        "USER": _postgres.username,
        "CONN_MAX_AGE": 60,  # for all: no peer pays for connecting at each job
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "benchmarks.settings"
SECRET_KEY = "only for benchmarks"
STATIC_URL = "/static/"
USE_TZ = True
urlpatterns = []

# What single peers read here

CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
if PEER.name == "ours":
    CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": REDIS}}
DJANGO_JOBS = {"TASK_MODULES": ["ours"]}

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}

PROCRASTINATE_IMPORT_PATHS = ["benchmarks.peers.procrastinate"]

Q_CLUSTER = {
    "workers": int(os.environ.get("BENCH_WORKERS", 1)),
    "recycle": 1_000_000,  # its default makes a new process after 500 tasks
    "save_limit": 0,  # all outcomes are kept
    "timeout": 60,
    "retry": 120,
    "poll": 0.2,
    "log_level": "WARNING",
    **({"orm": "default", "bulk": 10} if PEER.name == "django-q2-orm" else {"redis": REDIS}),
}
