"""Settings of the project; the backend is changed from outside."""

import os

from tests.settings import CACHES, DATABASES, DEFAULT_AUTO_FIELD, SECRET_KEY, USE_TZ  # noqa: F401

INSTALLED_APPS = ["tests.backend.swap.shop", "tests.app", "django_jobs"]
TASKS = {"default": {"BACKEND": os.environ["SWAP_BACKEND"], "QUEUES": ["default", "emails"]}}
ROOT_URLCONF = __name__
urlpatterns = []
