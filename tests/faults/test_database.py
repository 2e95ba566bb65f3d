"""Whatever happens to the database: jobs end, once each, and nobody is taken for dead who is not."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading
import time
from datetime import timedelta
from functools import partial
from pathlib import Path

import psycopg
import pytest
from django.db import OperationalError, connection, connections

from django_jobs import moves, states
from django_jobs.conf import BEAT_SECONDS, LEASE_SECONDS
from django_jobs.ids import job_id
from django_jobs.models import Attempt, Job, Traceback, Worker, db_now
from django_jobs.scheduler.rescue import Rescue
from django_jobs.worker.clerk import Clerk
from tests.app import fault_tasks, tasks
from tests.app.models import Effect
from tests.disturb import locked, refusing, slow, statements
from tests.faults.invariants import read_log
from tests.services import PgBouncer, wait_for
from tests.worker.conftest import effects

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.postgresql]

MANAGE = Path(__file__).parent.parent / "manage.py"
AWAY_WORKERS, AWAY_SECONDS = map(int, os.environ.get("DATABASE_AWAY", "3x7").split("x"))
TERMINATE = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
)


@pytest.fixture
def producer(log):
    """A process that enqueues, in transactions of all kinds, until the test stops it."""
    process = subprocess.Popen(
        [sys.executable, str(MANAGE), "produce"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    yield process
    process.kill()
    process.wait()


def each_ran_once(log: Path) -> bool:
    """Say whether no body was started twice: of no worker that lives may a job be given to another one."""
    starts = [job for job, _ in read_log(log).starts.elements()]
    return len(starts) == len(set(starts))


# Away


def test_a_database_that_breaks_again_and_again_under_load_costs_no_job_and_no_second_start(
    worker, postgres, producer, log, all_is_well
):
    workers = [worker("--processes", "2").ready(), worker("--threads", "4").ready()]

    for number in range(4):
        more = len(read_log(log).ends) + 20
        wait_for(lambda more=more: len(read_log(log).ends) > more, 30, "more jobs")
        postgres.restart("immediate") if number % 2 else postgres.execute(TERMINATE)
        connections.close_all()
    producer.kill()
    producer.wait()

    all_is_well()
    assert Job.objects.filter(state=states.SUCCEEDED).count() == Job.objects.count() > 100
    assert each_ran_once(log)
    assert not Job.objects.filter(losses__gt=0).exists()
    assert [running.process.poll() for running in workers] == [None, None]


def test_nobody_is_taken_for_dead_after_the_database_was_away_for_longer_than_a_lease(
    worker, postgres, log, all_is_well, tmp_path
):
    workers = [worker() for _ in range(AWAY_WORKERS)]
    jobs = [fault_tasks.log_until.enqueue(str(tmp_path / f"{number}")) for number in range(AWAY_WORKERS)]
    wait_for(lambda: len(read_log(log).starts) == AWAY_WORKERS, 30 + 3 * AWAY_WORKERS, "a job in each worker")
    time.sleep(7)  # a lease and a bit: from now on each may judge the others
    connections.close_all()

    stop = partial(postgres.stop, "immediate")
    for number, (leave, come_back) in enumerate([(postgres.pause, postgres.resume), (stop, postgres.start)]):
        leave()
        time.sleep(AWAY_SECONDS)
        (tmp_path / f"{number}").touch()  # this one ends while it is away
        come_back()
        time.sleep(3)  # in which a hasty rescue would free what the others run
    for number in range(AWAY_WORKERS):
        (tmp_path / f"{number}").touch()

    all_is_well()
    assert each_ran_once(log)
    for job in jobs:
        job.refresh()
    assert {(job.state, job.claim, job.attempt, job.losses) for job in jobs} == {(states.SUCCEEDED, 1, 1, 0)}
    assert Worker.objects.filter(lost_at__isnull=True).count() == AWAY_WORKERS
    assert [running.process.poll() for running in workers] == [None] * AWAY_WORKERS


def test_a_heartbeat_that_fails_is_tried_again_before_the_next_one_is_due(monkeypatch):
    clerk, pauses = Clerk(options=None, table=None, duties=None, reporter=None, pid=1), []

    def fail() -> None:
        raise OperationalError("the database is away")

    def wait(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 20:
            clerk.stop()

    monkeypatch.setattr(clerk, "_beat_if_due", fail)
    monkeypatch.setattr(clerk._stopping, "wait", wait)

    clerk._beat_on()

    assert 0 < pauses[0] < pauses[-1] == max(pauses) <= BEAT_SECONDS < LEASE_SECONDS / 2


def test_nobody_is_judged_by_an_answer_that_took_long():
    gone = Worker.objects.create(id=job_id(), host="gone", pid=1, alive_until=db_now() - timedelta(seconds=9))
    Worker.objects.update(beat_at=db_now() - timedelta(seconds=15))
    moves.claim([tasks.add.enqueue(1, 1).pk], worker=gone.pk, slot=1)
    rescue = Rescue()

    with connection.execute_wrapper(slowly):
        freed = rescue()

    assert (freed, Worker.objects.get().lost_at, Job.objects.get().state) == (0, None, states.RUNNING)
    assert rescue() == 1


def slowly(execute, *arguments):
    """Do as a database that stood still for a while when it was asked."""
    time.sleep(1.1)
    return execute(*arguments)


# Busy


def test_a_slow_database_slows_jobs_down_and_nothing_else(worker, log, all_is_well):
    tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 60)

    with slow(0.02):
        worker("--threads", "4"), worker()
        all_is_well()

    assert each_ran_once(log)
    assert not Worker.objects.filter(lost_at__isnull=False).exists()


def test_a_row_that_somebody_has_locked_keeps_only_its_own_job(worker, log, all_is_well):
    jobs = tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 200)

    with locked(jobs[0]), locked(jobs[100]):
        worker()
        wait_for(lambda: len(read_log(log).ends) == 198, 30, "all but the locked ones")
        wait_for(lambda: Job.objects.filter(state=states.SUCCEEDED).count() == 198, 10, "their outcomes")
        left = set(Job.objects.exclude(state=states.SUCCEEDED).values_list("pk", flat=True))
    all_is_well()

    assert left == {jobs[0].pk, jobs[100].pk}
    assert each_ran_once(log)


def test_transactions_that_lock_jobs_in_every_order_deadlock_with_no_batch(worker, log, all_is_well):
    jobs = tasks.log_start_and_end.enqueue_many([{"seconds": 0.005}] * 300)
    failing = fault_tasks.fail_at.enqueue_many([{"place": number % 20} for number in range(200)])
    stop = threading.Event()
    strangers = [threading.Thread(target=lock_pairs, args=(jobs[::step], stop)) for step in (1, -1)]

    for stranger in strangers:
        stranger.start()
    workers = [worker("--threads", "4"), worker("--processes", "2")]
    try:
        all_is_well()
    finally:
        stop.set()
        for stranger in strangers:
            stranger.join()

    assert each_ran_once(log)
    assert Job.objects.filter(state=states.SUCCEEDED).count() == len(jobs)
    assert Job.objects.filter(state=states.FAILED, attempt=2, failures=2).count() == len(failing)
    assert (Attempt.objects.count(), Traceback.objects.count()) == (2 * len(failing), 20)
    assert not any("deadlock" in running.output for running in workers)


def lock_pairs(jobs: list[Job], stop: threading.Event) -> None:
    """Lock pairs of rows, first one and then the other, as careless reports do."""
    with psycopg.connect(address()) as other:
        while not stop.is_set():
            for one, two in itertools.pairwise(jobs):
                if stop.is_set():
                    return
                try:
                    with other.transaction():
                        other.execute("SELECT 1 FROM django_jobs_job WHERE id = %s FOR UPDATE", [one.pk])
                        other.execute("SELECT 1 FROM django_jobs_job WHERE id = %s FOR UPDATE", [two.pk])
                except psycopg.errors.DeadlockDetected:
                    pass


def address() -> str:
    settings = connection.settings_dict
    return f"postgresql://{settings['USER']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


def test_an_atomic_body_in_a_deadlock_is_undone_and_happens_once(worker, tmp_path):
    effect = Effect.objects.create(key="first")
    job = fault_tasks.rename_effect_atomically.enqueue(effect.pk, str(tmp_path / "body"))
    worker()
    wait_for((tmp_path / "body.started").exists, 20, "the body")

    with psycopg.connect(address()) as other:
        other.execute("SELECT 1 FROM django_jobs_job WHERE id = %s FOR UPDATE", [job.pk])
        (tmp_path / "body").touch()
        wait_for(lambda: is_somebody_waiting(), 10, "the body's outcome to wait for the row")
        with contextlib.suppress(psycopg.errors.DeadlockDetected):
            other.execute("UPDATE tests_app_effect SET key = 'other' WHERE id = %s", [effect.pk])
    job.wait(20)

    assert job.state == states.SUCCEEDED
    assert [one.kind for one in job.errors] in ([], [Attempt.Kind.FAILED])  # whom the database chose to end
    assert effects() == ["renamed"]


def is_somebody_waiting() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM pg_locks WHERE NOT granted")
        return bool(cursor.fetchall())


# Full, and refusing


@pytest.mark.parametrize(
    "code",
    ["53100", "25006"],
    ids=["disk full", "read only"],
)
def test_outcomes_are_kept_while_the_database_takes_none(worker, log, all_is_well, code):
    """It answers with the error that a full disk, or a standby, gives; PostgreSQL's own part is not shown by that."""
    tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 50)

    with refusing("OLD.state = 'running' AND NEW.state <> 'queued'", code):
        running = worker("--threads", "4").ready()
        wait_for(lambda: "outcomes are kept" in running.output, 20, "the failure")
        time.sleep(1)
        assert not Job.objects.filter(state__in=states.FINAL).exists()
    all_is_well()

    assert each_ran_once(log)
    assert Job.objects.filter(state=states.SUCCEEDED, claim=1).count() == 50


# Behind a pooler


@pytest.fixture
def pgbouncer(postgres):
    """A pgbouncer in transaction mode before the run's PostgreSQL, with fewer connections than its clients have."""
    if not PgBouncer.is_there():
        pytest.skip("pgbouncer is not installed here (Debian: apt install pgbouncer)")
    with PgBouncer(postgres) as server:
        yield server


def test_pgbouncer_in_transaction_mode_suits_workers_and_producers(worker, pgbouncer, log, all_is_well, monkeypatch):
    monkeypatch.setenv("DJANGO_JOBS_TEST_POSTGRES", pgbouncer.url)
    atomic = fault_tasks.atomic_effect.enqueue_many([{"key": f"atomic {number}"} for number in range(20)])
    failing = fault_tasks.fail_at.enqueue_many([{"place": number} for number in range(5)])
    workers = [worker("--threads", "4").ready(), worker("--processes", "2").ready()]

    subprocess.run([sys.executable, str(MANAGE), "produce", "--count", "40"], check=True, timeout=60)
    pgbouncer.restart()
    subprocess.run([sys.executable, str(MANAGE), "produce", "--count", "40"], check=True, timeout=60)

    all_is_well()
    assert each_ran_once(log)
    assert effects("atomic") == sorted(f"atomic {number}" for number in range(len(atomic)))
    assert Job.objects.filter(state=states.FAILED, attempt=2).count() == len(failing)
    assert Job.objects.filter(state=states.SUCCEEDED).count() == Job.objects.count() - len(failing)
    assert [running.process.poll() for running in workers] == [None, None]


def test_workers_leave_nothing_in_a_session_that_a_pooler_would_mix_up(worker, postgres, log, all_is_well):
    tasks.log_start_and_end.enqueue_many([{"seconds": 0.01}] * 30)
    fault_tasks.atomic_effect.enqueue("atomic")
    fault_tasks.fail_at.enqueue(1)

    with statements(postgres) as seen:
        worker("--threads", "2").ready()
        all_is_well()
        time.sleep(3)  # a round of every chore that comes each second

    state = re.compile(r"\b(LISTEN|UNLISTEN|PREPARE|DECLARE|advisory|TEMP|SET SESSION|SET [a-z_]+ *(=|TO))\b", re.I)
    assert sum("django_jobs_job" in one for one in seen) > 20
    assert [one for one in seen if state.search(one)] == []
