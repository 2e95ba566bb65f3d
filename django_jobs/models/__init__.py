"""The truth: jobs, their attempts, schedules, queues and workers as rows. No Redis here."""

from . import above
from .counter import Counter
from .database import database, db_now
from .fields import DbNow, EncodedField, EncodedText, frozen_clock
from .job import Attempt, Job, Traceback
from .label import JobLabel, jobs_about
from .overview import Overview
from .schedule import Schedule, ScheduleRun
from .worker import Meta, Queue, Worker

__all__ = [
    "Attempt",
    "Counter",
    "DbNow",
    "EncodedField",
    "EncodedText",
    "Job",
    "JobLabel",
    "Meta",
    "Overview",
    "Queue",
    "Schedule",
    "ScheduleRun",
    "Traceback",
    "Worker",
    "above",
    "database",
    "db_now",
    "frozen_clock",
    "jobs_about",
]
