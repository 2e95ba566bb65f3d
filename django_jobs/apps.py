"""The Django app: finds the tasks of all apps and registers the system checks."""

from __future__ import annotations

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _

from .conf import our_backends


class DjangoJobsConfig(AppConfig):
    name = "django_jobs"
    label = "django_jobs"
    verbose_name = _("Background jobs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from . import bulk, checks, following, waiting  # noqa: F401  here: they register themselves; need the app registry
        from .models import above  # here: needs the app registry
        from .tasks import registry  # here: needs the app registry

        above.follow, above.wait, above.wait_async = following.follow, waiting.wait, waiting.wait_async
        registry.discover()
        list(our_backends())  # loads them: a worker must find what came by using(backend=...)
