"""Tasks for the suite's workers."""

from django_jobs import task


@task
def add(a, b):
    return a + b
