"""The suite's settings with django-unfold for an admin, as its own docs say to install it."""

import sys
from pathlib import Path

from tests.settings import *  # noqa: F403
from tests.settings import DJANGO_JOBS, INSTALLED_APPS, MIDDLEWARE

sys.path.append(str(Path(__file__).resolve().parents[1] / "browser" / "project"))

DEBUG = True  # runserver serves static files then
ALLOWED_HOSTS = ["127.0.0.1"]
INSTALLED_APPS = ["unfold", *INSTALLED_APPS, "store"]
MIDDLEWARE = [one for one in MIDDLEWARE if one != "tests.served.strictly"]  # it has inline scripts
DJANGO_JOBS = DJANGO_JOBS | {"QUEUES": [], "CACHE": None}
LOGGING = {"version": 1, "disable_existing_loggers": True}  # nobody reads what it prints
