"""What the chores cost beside very many rows: no more than beside few, as the database itself counts it.

A million rows take a while: FIGURES_ROWS=1000000.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from datetime import timedelta
from typing import NamedTuple
from uuid import UUID

import psycopg
import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from django_jobs import backlog, moves, scheduler, states
from django_jobs.ids import job_id
from django_jobs.models import Job, Worker, db_now
from django_jobs.scheduler import Chore, Duties, reconcile
from django_jobs.scheduler.duties import VAIN_SHARE
from django_jobs.worker.source import Source
from tests.app import tasks
from tests.disturb import statements
from tests.services import Postgres

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

ROWS = int(os.environ.get("FIGURES_ROWS", 50_000))
COLUMNS = [field.column for field in Job._meta.concrete_fields if field.column != "id"]
QUEUES = ["default", "mail"]


class Cost(NamedTuple):
    """What one statement took."""

    buffers: int  # pages of 8 kB looked at
    seconds: float
    sql: str


def multiply(job: Job, count: int, **columns: str) -> None:
    """Make copies of a job, with some columns set to expressions over their number ``n``."""
    values = ", ".join(columns.get(column, column) for column in COLUMNS)
    id = columns.get("id", "lpad(to_hex(n), 32, '0')")
    with connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO django_jobs_job (id, {', '.join(COLUMNS)}) SELECT ({id})::uuid, {values}"
            f" FROM generate_series(1, {count}) AS n, django_jobs_job WHERE id = '{job.pk}'"
        )


def costs(act: Callable[[], object]) -> list[Cost]:
    """Run something and return what each of its statements cost, measured by running it once more for nothing."""
    with CaptureQueriesContext(connection) as captured:
        act()
    asked = [query["sql"] for query in captured if is_lookup(query["sql"])]
    return [explain(sql) for sql in asked]


def is_lookup(sql: str) -> bool:
    return sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "WITH")) and "INSERT INTO" not in sql


def explain(sql: str) -> Cost:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}")
        (told,) = cursor.fetchone()
        transaction.set_rollback(True)
    (told,) = json.loads(told) if isinstance(told, str) else told
    plan = told["Plan"]
    buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return Cost(buffers, told["Execution Time"] / 1000, sql)


def lookups() -> dict[str, Callable[[], object]]:
    """Return everything that workers ask the rows again and again."""
    me = job_id()
    chores = {chore.name: chore.run for chore in scheduler.chores()}
    return chores | {
        "waiting": lambda: backlog.waiting(QUEUES, 100),
        "take": lambda: Source("me:1", QUEUES).take(100),
        "is_work_due": lambda: backlog.is_work_due(QUEUES),
        "is_work_waiting": lambda: backlog.is_work_waiting([]),
        "held_by": lambda: moves.held_by(me, 1),
        "cancel_requested": lambda: moves.cancel_requested([moves.Held(me, 1)]),
    }


def too_dear(acts: dict[str, Callable[[], object]], most: float) -> list[tuple[str, Cost]]:
    """Return what costs more than so many buffers, of everything done thrice."""
    found = [(name, cost) for name, act in acts.items() for _ in range(3) for cost in costs(act)]
    slowest = max(cost.seconds for _, cost in found)
    print(f"{ROWS} rows: {len(found)} statements, the slowest took {slowest * 1000:.1f} ms")
    return [(name, cost) for name, cost in found if cost.buffers > most]


@pytest.mark.parametrize("analysed", [False, True], ids=["not analysed", "analysed"])
def test_no_lookup_looks_at_more_than_its_page_of_very_many_waiting_rows(redis_clean, analysed):
    job = tasks.add.enqueue(1, 1)
    multiply(job, ROWS, queue_name="(ARRAY['default','mail','other'])[n % 3 + 1]", priority="n / 3 % 3")
    later = tasks.add.using(run_after=timedelta(hours=1)).enqueue(1, 1)
    multiply(later, ROWS, id="'f' || lpad(to_hex(n), 31, '0')", run_after="now() + n * interval '1 minute'")
    if analysed:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE django_jobs_job")

    assert too_dear(lookups(), 2 * reconcile.PAGE) == []


@pytest.mark.parametrize("analysed", [False, True], ids=["not analysed", "analysed"])
def test_what_is_asked_often_does_not_see_the_dead_rows_that_an_old_snapshot_keeps(redis_clean, analysed):
    job, me = tasks.add.enqueue(1, 1), job_id()
    with psycopg.connect(address()) as dump, connection.cursor() as cursor:
        dump.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        dump.execute("SELECT count(*) FROM django_jobs_job")
        multiply(job, ROWS, expires_at="now() + interval '1 hour'")
        cursor.execute("UPDATE django_jobs_job SET state = 'running', claim = 1, worker = %s, slot = 1", [me])
        cursor.execute("UPDATE django_jobs_job SET state = 'succeeded', finished_at = now(), prune_at = now()")
        if analysed:
            cursor.execute("ANALYZE django_jobs_job")
        Worker.objects.create(id=job_id(), host="gone", pid=1, alive_until=db_now() - timedelta(seconds=10))
        Worker.objects.update(beat_at=db_now() - timedelta(seconds=20))
        acts = lookups()
        acts["rescue"]()  # the first one, and one a minute, looks at all running jobs
        often = {name: acts[name] for name in ("fire", "promote", "rescue", "expire", "cancel_requested")}

        assert explain("SELECT count(*) FROM django_jobs_job WHERE state = 'running'").buffers > ROWS / 100
        assert too_dear(often, 100) == []
        assert too_dear({"a job's way": lambda: carry(me)}, 1_000) == []


def carry(worker: UUID) -> None:
    """Take jobs all the ways that a worker can."""
    new = tasks.add.enqueue_many([{"a": 1, "b": 1}] * 30)
    jobs = moves.claim([job.pk for job in new], worker=worker, slot=1)
    held = [moves.Held(job.pk, job.claim) for job in jobs]
    backlog.lost_before([job.pk for job in new])
    moves.note_started((one, 1.0) for one in held[:2])
    for one in held[:2]:
        moves.note_told(one, "{}", None)
    moves.still_held(jobs)
    moves.release(held[:5])
    moves.release(held[5:10], started=True)
    moves.postpone(held[10:15], seconds=60, reason="")
    moves.lose(held[15:20], cause="killed")
    now = time.monotonic()
    moves.record([moves.Outcome(transition=states.SUCCEED, job=job, started=now, finished=now) for job in jobs[20:]])


def address() -> str:
    settings = connection.settings_dict
    return f"postgresql://{settings['USER']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


def test_a_chore_whose_look_in_vain_takes_long_is_done_less_often(monkeypatch):
    looks = []

    def look() -> int:
        looks.append(time.monotonic())
        time.sleep(0.05)
        return 0

    duties = Duties(job_id(), [Chore(name="prune", every=0.3, run=look)])
    while len(looks) < 3:
        duties.turn(is_steady=lambda: True)
        time.sleep(0.01)

    assert looks[2] - looks[1] >= VAIN_SHARE * 0.05


def test_statements_of_idle_workers_do_not_grow_with_their_number(worker, postgres):
    """All together at most 20 a second, beats excluded; a hundred of them take minutes to start."""
    worker().ready()
    one = idle_rate(postgres)
    for running in [worker() for _ in range(3)]:
        running.ready()
    rates = [idle_rate(postgres)]
    while rates[-1] - one > 5 and len(rates) < 3:  # the lease has moved on, say: the new one begins with every chore
        rates.append(idle_rate(postgres))

    assert max(rates) <= 20
    assert rates[-1] - one <= 5  # looks at the lease on the chores, whatever their number


def test_what_each_idle_worker_asks_by_itself_is_one_statement(redis_clean):
    scheduler.epoch.change()
    reconcile.Reconcile()()
    source = Source("me:1", QUEUES)
    source.take(1)
    scheduler.epoch.change()  # as happens each minute
    reconcile.Reconcile()()

    with CaptureQueriesContext(connection) as when_the_epoch_changes:
        source.take(1)
    with CaptureQueriesContext(connection) as when_idle:
        backlog.is_work_waiting(QUEUES)

    assert (len(when_the_epoch_changes), len(when_idle)) == (1, 1)


def idle_rate(postgres: Postgres, seconds: float = 8) -> float:
    """Return how many statements a second the workers send that are no beats."""
    time.sleep(2)  # what a start brings along
    with statements(postgres) as seen:
        time.sleep(seconds)
    return sum('UPDATE "django_jobs_worker"' not in one for one in seen) / seconds
