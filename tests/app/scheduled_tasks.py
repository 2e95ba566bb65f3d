"""A task with a schedule, for workers whose TASK_MODULES name this module."""

from datetime import timedelta

from django_jobs import schedule, task
from tests.app.models import Effect


@schedule(every=timedelta(seconds=1), kwargs={"key": "by schedule"})
@task
def scheduled_effect(key):
    Effect.objects.create(key=key)
