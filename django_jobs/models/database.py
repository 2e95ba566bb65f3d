"""The one database alias on which all our tables live."""

from __future__ import annotations

from datetime import datetime

from django.apps import apps
from django.db import connections, models, router

from ..conf import jobs_settings


def database() -> str:
    """Return the alias of the database that holds the jobs; its transaction is the one that counts."""
    return jobs_settings.DATABASE or router.db_for_write(apps.get_model("django_jobs", "Job"))


def db_now() -> datetime:
    """Return the time by the database's clock."""
    from .fields import DbNow, frozen_at  # here: fields know nothing of the database that this module names

    if (moment := frozen_at()) is not None:
        return moment
    connection = connections[database()]
    expression = DbNow()
    compiler = models.sql.Query(None).get_compiler(connection=connection)
    with connection.cursor() as cursor:
        cursor.execute("SELECT " + compiler.compile(expression)[0] % ())
        (value,) = cursor.fetchone()
    for convert in connection.ops.get_db_converters(expression):
        value = convert(value, expression, connection)
    return value


class Manager(models.Manager):
    """Reads where the jobs are written: a replica may lag behind what was just committed."""

    def get_queryset(self) -> models.QuerySet:
        return super().get_queryset() if self._db else super().get_queryset().using(database())
