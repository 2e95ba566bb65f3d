"""Where people look at jobs and act: jobs, schedules, queues and workers in Django's admin."""

from . import jobs, overview, schedules, workers  # each registers its own

__all__ = ["jobs", "overview", "schedules", "workers"]
