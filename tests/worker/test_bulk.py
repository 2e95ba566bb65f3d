"""A worker retries many jobs by the task that none of its modules names."""

from __future__ import annotations

import pytest

from django_jobs import bulk
from django_jobs.models import Job, db_now
from django_jobs.selection import Selection
from tests.app import tasks

pytestmark = pytest.mark.django_db(transaction=True)


def test_failed_jobs_are_queued_again_and_run(burst, redis_clean):
    now = db_now()
    call = {"task_path": tasks.add.module_path, "args": [1, 1], "state": "failed", "finished_at": now}
    Job.objects.bulk_create([Job(**call) for _ in range(bulk.CHUNK + 5)])
    Job.objects.bulk_create([Job(**call, queue_name="mail")])

    ours = bulk.retry_later(Selection(queues=("default",)), by="ada")
    burst()

    ours.refresh()
    assert (ours.state, ours.return_value, ours.last_error) == ("succeeded", bulk.CHUNK + 5, "")
    assert Job.objects.filter(task_path=tasks.add.module_path, state="succeeded").count() == bulk.CHUNK + 5
    assert Job.objects.get(queue_name="mail").state == "failed"
