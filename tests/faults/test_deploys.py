"""Two versions at work at the same time, and migrations while they are."""

from __future__ import annotations

import pytest
from django.db import connection

from django_jobs import states
from django_jobs.models import Job
from tests.app import fault_tasks, tasks
from tests.faults.invariants import read_log
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.once
def test_jobs_of_a_new_task_are_run_by_the_workers_that_know_it(worker):
    old = worker("--threads", "4", DJANGO_JOBS_TEST_MODULES="tasks").ready()
    jobs = fault_tasks.echo.enqueue_many([{"value": number} for number in range(10)])
    wait_for(lambda: "no task tests.app.fault_tasks.echo is registered here" in old.output, 20, "the old one's word")

    worker("--threads", "4")
    wait_for(lambda: Job.objects.filter(state=states.SUCCEEDED).exists(), 60, "the new one's share, beside the old one")
    old.stop()
    for job in jobs:
        job.wait(60)

    assert {(job.state, job.attempt, job.failures, job.losses) for job in jobs} == {(states.SUCCEEDED, 1, 0, 0)}
    assert [job.return_value for job in jobs] == list(range(10))


@pytest.mark.postgresql
def test_a_migration_while_workers_run_costs_no_job(worker, log, all_is_well):
    """What the next version's migration may do by our rules: a column, an index, each with its lock on the table."""
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 300)
    workers = [worker("--threads", "4").ready(), worker().ready()]
    wait_for(lambda: len(read_log(log).ends) > 20, 20, "some jobs")

    with connection.cursor() as cursor:
        try:
            cursor.execute("ALTER TABLE django_jobs_job ADD COLUMN of_the_next_version integer NULL")
            cursor.execute("CREATE INDEX CONCURRENTLY of_the_next_version ON django_jobs_job (of_the_next_version)")
            tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 50)
            cursor.execute("ALTER TABLE django_jobs_job ALTER COLUMN last_error TYPE varchar(600)")
            all_is_well()
        finally:
            cursor.execute("ALTER TABLE django_jobs_job DROP COLUMN IF EXISTS of_the_next_version")
            cursor.execute("ALTER TABLE django_jobs_job ALTER COLUMN last_error TYPE varchar(500)")

    assert Job.objects.filter(state=states.SUCCEEDED, attempt=1, losses=0).count() == 350
    assert sum(read_log(log).starts.values()) == 350
    assert [running.process.poll() for running in workers] == [None, None]
