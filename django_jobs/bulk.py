"""Retries more jobs than a request should wait for: a task of our own, which every worker knows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from . import enqueue, states
from .conf import jobs_settings
from .exceptions import JobCancelled
from .models import Job, db_now
from .selection import Selection, after_each_other, in_state, newest_attempt
from .tasks import Task, TaskContext, registry

CHUNK = 1000  # jobs moved by one statement


def retry_failed(context: TaskContext, until: datetime, **said: Any) -> int:
    """Queue the failed jobs of a selection again, the oldest first; return how many there were.

    What fails after ``until`` stays failed, so a job that fails again at once is not retried for ever.
    """
    jobs = Selection.of(ended_by=until, **said).failed().narrow(Job.objects.all())
    total, seen, retried = jobs.count(), 0, 0
    context.progress(0, total)
    for ids in after_each_other(jobs, CHUNK):
        if context.cancelled:
            raise JobCancelled
        retried += enqueue.retry(Job.objects.filter(in_state(states.FAILED), pk__in=ids))
        seen += len(ids)
        context.progress(seen, max(seen, total))
    return retried


# Not registered, but found: nobody chooses it from a list of tasks.
RETRY_FAILED = Task(func=retry_failed, takes_context=True, timeout=None, max_attempts=3)
registry.finders.append({RETRY_FAILED.module_path: RETRY_FAILED}.get)


def retry_later(selection: Selection, *, by: str) -> Job:
    """Enqueue a job that retries the failed jobs of a selection, as they are now; return it."""
    until = db_now()
    said = selection.said() | ({"last_attempt": newest_attempt()} if selection.is_recent else {})
    job = RETRY_FAILED.using(queue_name=_queue()).prepare((), said | {"until": until})
    job.created_by = by[: Job._meta.get_field("created_by").max_length]
    enqueue.save([job])
    return job


def _queue() -> str:
    names = jobs_settings.QUEUES
    return "default" if not names or "default" in names else names[0]
