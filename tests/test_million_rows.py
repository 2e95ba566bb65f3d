"""Every page of the admin with a million finished and 100,000 waiting jobs: few queries, and none over all rows."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs.models import Attempt, Counter, Job, Queue, Schedule, ScheduleRun, Traceback, Worker, db_now
from tests.app import admin_tasks

pytestmark = [pytest.mark.postgresql, pytest.mark.django_db, pytest.mark.once]

FINISHED, WAITING = 1_000_000, 100_000
MOST_QUERIES = 8
MOST_ROWS = 60_000  # that one step of a statement may look at: counts end at 10,000, a search at 50,000
LONGEST = 0.3  # seconds
TRIES = 5
TASK = admin_tasks.charge_card.module_path
TABLES = [Job, Attempt, Traceback, Counter, Queue, Worker, Schedule, ScheduleRun]
ADMIN = "/admin/django_jobs"


@pytest.fixture(scope="module")
def rows(django_db_setup, django_db_blocker) -> Iterator[dict[str, Any]]:
    """All those rows, and the keys of a few; committed, so that the planner knows them."""
    with django_db_blocker.unblock():
        try:
            yield fill()
        finally:
            names = ", ".join(connection.ops.quote_name(model._meta.db_table) for model in TABLES)
            execute(f"TRUNCATE {names} CASCADE")


def fill() -> dict[str, Any]:
    workers = [a_worker(number) for number in range(20)]
    Queue.objects.bulk_create([Queue(name=name) for name in ("default", "images", "mail", "reports")])
    schedule = Schedule.objects.create(name="Stock", task_path=TASK, args=[1], cron="*/10 * * * *")
    Schedule.objects.bulk_create(
        [Schedule(name=f"Number {n}", task_path=TASK, args=[n], cron=f"{n % 60} 3 * * *") for n in range(200)]
    )
    execute(
        f"""INSERT INTO {Job._meta.db_table} ({", ".join(columns(Job))})
        SELECT {", ".join(values(Job, job_columns(workers, schedule.pk)))}
        FROM generate_series(1, {FINISHED + WAITING}) n, {Job._meta.db_table} one WHERE one.id = %s""",
        [the_one := Job.objects.create(task_path=TASK, args=[1042], kwargs={"amount": 49.9}).pk],
    )
    Job.objects.filter(pk=the_one).delete()
    execute(ATTEMPTS)
    execute(TRACES)
    execute(RUNS.format(schedule=schedule.pk))
    execute(COUNTERS)
    execute("VACUUM ANALYZE")
    failed = Job.objects.filter(state="failed", finished_at__isnull=False)
    middle = Job.objects.raw(f"SELECT id FROM {Job._meta.db_table} ORDER BY id OFFSET {FINISHED // 2} LIMIT 1")[0]
    return {
        "job": failed.order_by("-pk")[0].pk,
        "waiting": Job.objects.filter(state="queued").order_by("pk")[0].pk,
        "middle": middle.pk,
        "schedule": schedule.pk,
        "worker": workers[0].pk,
    }


def a_worker(number: int) -> Worker:
    alive = {"alive_until": db_now() + timedelta(hours=1), "info": {"memory_mb": 180 + number}}
    return Worker.objects.create(id=uuid4(), host=f"web-{number}", pid=4000 + number, slots=4, **alive)


def execute(sql: str, params: list | None = None) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)


def columns(model) -> list[str]:
    return [field.column for field in model._meta.concrete_fields]


def values(model, changed: dict[str, str]) -> list[str]:
    """Return SQL for each column: what is said of it, or else what the row ``one`` has there."""
    return [changed.get(name, f"one.{name}") for name in columns(model)]


def job_columns(workers: list[Worker], schedule: int) -> dict[str, str]:
    """Return what differs from job to job, by its number: the older ones have ended, the newer ones have not."""
    moment = f"now() - {FINISHED + WAITING} * interval '0.5 s' + n * interval '0.5 s'"
    ended = f"n <= {FINISHED}"
    running = f"n > {FINISHED + WAITING} - 80"
    state = f"""CASE WHEN {ended} THEN
            CASE WHEN n %% 100 < 3 THEN 'failed' WHEN n %% 100 = 3 THEN 'cancelled' ELSE 'succeeded' END
        WHEN {running} THEN 'running'
        WHEN n %% 100 < 8 THEN 'scheduled' WHEN n %% 100 = 8 THEN 'retrying' ELSE 'queued' END"""
    crew = ", ".join(f"'{one.pk}'" for one in workers)
    return {
        "id": f"""(lpad(to_hex((extract(epoch FROM {moment}) * 1000)::bigint), 12, '0')
            || '70008' || lpad(to_hex(n), 15, '0'))::uuid""",
        "task_path": f"""CASE n %% 10 WHEN 0 THEN 'tests.app.tasks.add' WHEN 1 THEN 'gone.tasks.renamed'
            ELSE '{TASK}' END""",
        "args": "'[' || n || ']'",
        "queue_name": """CASE WHEN n %% 1000 = 1 THEN 'reports' WHEN n %% 7 = 0 THEN 'mail'
            WHEN n %% 3 = 0 THEN 'images' ELSE 'default' END""",
        "state": state,
        "enqueued_at": moment,
        "run_after": f"CASE WHEN NOT {ended} AND n %% 100 <= 8 THEN now() + n %% 5000 * interval '1 s' END",
        "claimed_at": f"CASE WHEN {ended} OR {running} THEN {moment} + interval '0.2 s' END",
        "started_at": f"CASE WHEN {ended} OR {running} THEN {moment} + interval '0.3 s' END",
        "finished_at": f"CASE WHEN {ended} THEN {moment} + interval '0.5 s' END",
        "prune_at": f"CASE WHEN {ended} THEN {moment} + interval '14 days' END",
        "attempt": f"CASE WHEN {ended} OR {running} THEN 1 + n %% 3 / 2 ELSE 0 END",
        "worker": f"CASE WHEN {running} THEN (ARRAY[{crew}]::uuid[])[1 + n %% 20] END",
        "last_error": f"CASE WHEN {ended} AND n %% 100 < 3 THEN 'ReadTimeout: gateway ' || n %% 20 ELSE '' END",
        "schedule_id": f"CASE WHEN {ended} AND n %% 500 = 0 THEN {schedule} END",
    }


# Each failed job has as many attempts as it made; one in fifty of those that succeeded failed once before.
ATTEMPTS = """INSERT INTO django_jobs_attempt
    (job_id, number, kind, started_at, finished_at, exception_class, message, fingerprint)
    SELECT id, number, 'failed', started_at, finished_at, 'requests.ReadTimeout', 'gateway ' || n, 'print-' || n
    FROM (SELECT *, ('x' || right(id::text, 4))::bit(16)::int % 20 AS n FROM django_jobs_job
          WHERE finished_at IS NOT NULL) job, generate_series(1, attempt) number
    WHERE state = 'failed'
        OR (state = 'succeeded' AND number < attempt AND ('x' || right(id::text, 2))::bit(8)::int < 15)
    ORDER BY id, number"""
TRACES = """INSERT INTO django_jobs_traceback (fingerprint, text, created_at)
    SELECT 'print-' || n, 'Traceback (most recent call last):', now() FROM generate_series(0, 19) n"""
RUNS = """INSERT INTO django_jobs_schedulerun (schedule_id, due_at, kind, job, created_at)
    SELECT {schedule}, enqueued_at, 'due', id, enqueued_at FROM django_jobs_job WHERE schedule_id = {schedule}"""
# By minutes for three hours, and by hours for ten days.
COUNTERS = """INSERT INTO django_jobs_counter (since, seconds, queue_name, kind, bucket, count)
    SELECT date_trunc(CASE seconds WHEN 60 THEN 'minute' ELSE 'hour' END, now()) - n * seconds * interval '1 s',
        seconds, queue_name, kind, bucket, 10 + n
    FROM (VALUES (60, 180), (3600, 240)) AS kept(seconds, many), generate_series(0, many) n,
        (VALUES ('default'), ('images'), ('mail'), ('reports')) AS queues(queue_name),
        (SELECT kind, 0 AS bucket FROM (VALUES ('succeeded'), ('failed'), ('retried'), ('cancelled')) AS outcome(kind)
         UNION ALL SELECT kind, bucket FROM (VALUES ('wait'), ('run')) AS spent(kind), generate_series(5, 12) bucket
        ) AS kinds"""

STATES = ("scheduled", "queued", "running", "retrying", "succeeded", "failed", "cancelled")
JOBS = {
    "jobs": f"{ADMIN}/job/",
    **{f"jobs, {state}": f"{ADMIN}/job/?state={state}" for state in STATES},
    "jobs of a queue": f"{ADMIN}/job/?queue=reports",
    "jobs of a queue and state": f"{ADMIN}/job/?queue=reports&state=failed",
    "jobs waiting in a queue": f"{ADMIN}/job/?queue=mail&state=queued",
    "jobs of a task": f"{ADMIN}/job/?task=tests.app.tasks.add",
    "jobs of a task and state": f"{ADMIN}/job/?task={TASK}&state=cancelled",
    "jobs of a task that never ran": f"{ADMIN}/job/?task=tests.app.admin_tasks.report",
    "jobs with an error": f"{ADMIN}/job/?error=print-7",
    "jobs, searched by name": f"{ADMIN}/job/?q=charge_card",
    "jobs, searched by id": f"{ADMIN}/job/?q={{job}}",
    "jobs, searched by qualifiers": f"{ADMIN}/job/?q=task:charge_card+queue:mail",
    "jobs, searched by their error": f"{ADMIN}/job/?q=error:%22gateway+11%22",
    "jobs, searched for what is not there": f"{ADMIN}/job/?q=error:nothing-like-this",
    "jobs, older": f"{ADMIN}/job/?before={{middle}}",
    "jobs, newer": f"{ADMIN}/job/?after={{middle}}",
    "jobs, failed, older": f"{ADMIN}/job/?state=failed&before={{middle}}",
    "jobs, waiting, newer": f"{ADMIN}/job/?state=queued&after={{waiting}}",
    "a failed job": f"{ADMIN}/job/{{job}}/change/",
    "a waiting job": f"{ADMIN}/job/{{waiting}}/change/",
}
PAGES = {
    "overview": f"{ADMIN}/overview/",
    "queues": f"{ADMIN}/queue/",
    "a queue": f"{ADMIN}/queue/mail/change/",
    "workers": f"{ADMIN}/worker/",
    "a worker": f"{ADMIN}/worker/{{worker}}/change/",
    "schedules": f"{ADMIN}/schedule/",
    "a schedule": f"{ADMIN}/schedule/{{schedule}}/change/",
    "a new schedule": f"{ADMIN}/schedule/add/",
    "the next 24 hours": f"{ADMIN}/schedule/day/",
}


@pytest.fixture
def person(client, settings):
    """A superuser's client that keeps its session in a cookie."""
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    client.force_login(User.objects.create_superuser("ada"))
    client.get(f"{ADMIN}/worker/")  # what is loaded once
    return client


def test_every_page_is_quick_with_a_million_jobs(rows, person, capsys):
    assert_quick(PAGES, rows, person, capsys)


def test_every_list_of_jobs_is_quick_with_a_million_of_them(rows, person, capsys):
    assert_quick(JOBS, rows, person, capsys)


def assert_quick(pages: dict[str, str], rows: dict[str, Any], person, capsys) -> None:
    """Look at each page, and fail with everything that is wrong with any of them."""
    wrong, times = [], []
    for name, path in pages.items():
        address = path.format(**rows)
        with CaptureQueriesContext(connection) as captured:
            response = person.get(address)
        if response.status_code != 200:
            wrong.append(f"{name}: {response.status_code} {response.headers.get('Location', '')}")
            continue
        ours = [one["sql"] for one in captured if is_ours(one["sql"])]
        if len(ours) > MOST_QUERIES:
            wrong.append(f"{name}: {len(ours)} queries:\n" + "\n".join(f"    {sql[:200]}" for sql in ours))
        wrong += [f"{name}: {remark}" for sql in ours for remark in too_much(sql)]
        times.append((seconds := best_time(person, address), name))
        if seconds > longest():
            wrong.append(f"{name}: {1000 * seconds:.0f} ms")

    with capsys.disabled():
        told = (f"{name} {1000 * seconds:.0f} ms" for seconds, name in sorted(times, reverse=True)[:5])
        print(f"\nWith a million jobs these took longest: {', '.join(told)}")
    assert not wrong, "\n".join(wrong)


def is_ours(sql: str) -> bool:
    """Say whether a query is not Django's own, for users, permissions and the log."""
    return bool(re.search(r'"django_jobs_\w+"|STATEMENT_TIMESTAMP', sql)) and '"auth_user"."id" =' not in sql


def longest() -> float:
    """Return the seconds that a page may take: more while others use the machine, too."""
    return LONGEST * max(1.0, 2 * os.getloadavg()[0] / (os.cpu_count() or 1))


def best_time(person, address: str) -> float:
    """Return the shortest of a few times, in seconds."""
    best = float("inf")
    for _ in range(TRIES):
        started = time.perf_counter()
        person.get(address)
        best = min(best, time.perf_counter() - started)
        if best < LONGEST:
            break
    return best


def too_much(sql: str) -> Iterator[str]:
    """Say which steps of a statement look at too many jobs."""
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".replace("%", "%%"), [])
        (plan,) = cursor.fetchone()
    plan = json.loads(plan) if isinstance(plan, str) else plan
    for step in steps(plan[0]["Plan"]):
        if step.get("Relation Name") not in (Job._meta.db_table, Attempt._meta.db_table):
            continue
        looked_at = (step["Actual Rows"] + step.get("Rows Removed by Filter", 0)) * step["Actual Loops"]
        if looked_at > MOST_ROWS or (step["Node Type"] == "Seq Scan" and not is_limited(plan[0]["Plan"], step)):
            yield f"{step['Node Type']} looks at {looked_at:,.0f} rows of {step['Relation Name']}: {sql[:1000]}"


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from steps(part)


def is_limited(plan: dict[str, Any], wanted: dict[str, Any]) -> bool:
    """Say whether a step stops as soon as enough rows are found: then it is not over the whole table."""
    return any(
        one["Node Type"] == "Limit" and any(step is wanted for step in steps(one)) and wanted["Actual Rows"] < MOST_ROWS
        for one in steps(plan)
    )


def test_the_rows_are_as_many_as_said(rows):
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FILTER (WHERE finished_at IS NOT NULL), count(*) FROM django_jobs_job")
        assert cursor.fetchone() == (FINISHED, FINISHED + WAITING)
    assert Attempt.objects.count() > 50_000
    assert Worker.objects.count() == 20
