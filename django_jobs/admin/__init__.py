"""Where people look at jobs and act: jobs, schedules, queues and workers in Django's admin."""

from . import jobs, overview, schedules, workers  # each registers its own
from .panel import JobsPanel  # for the admin of others' models

__all__ = ["JobsPanel", "jobs", "overview", "schedules", "workers"]
