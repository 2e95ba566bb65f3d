"""Moves: each verb makes its transition from the states of the table and changes nothing elsewhere."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from types import ModuleType
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connection, connections, transaction
from django.db.models import F

from django_jobs import backlog, moves, states
from django_jobs.models import Attempt, DbNow, Job, Queue, Traceback, db_now
from django_jobs.models.fields import EncodedField
from django_jobs.moves import Failure, Held, Moved, Outcome
from django_jobs.scheduler import reconcile
from django_jobs.scheduler.prune import prune
from django_jobs.scheduler.rescue import Rescue
from django_jobs.sql import portable, postgresql
from tests.disturb import without_autovacuum

pytestmark = pytest.mark.django_db
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)
WORKER, OTHER_WORKER = uuid4(), uuid4()
CLAIM, ATTEMPT = 5, 2  # of the jobs made here
STATEMENTS = [postgresql, portable] if connection.vendor == "postgresql" else [portable]
OUTCOMES = (states.SUCCEED, states.RETRY, states.FAIL, states.STOP, states.DISCARD)


@pytest.fixture(params=STATEMENTS, ids=lambda module: module.__name__.rpartition(".")[2])
def sql(request, monkeypatch) -> ModuleType:
    """Each set of statements that this database understands."""
    monkeypatch.setattr(moves, "statements", lambda alias: request.param)
    return request.param


def make(state: str = "queued", **values) -> Job:
    """Return a stored job as it may well be in that state; only ``claim`` and the like must be named to differ."""
    if state in states.FINAL:
        values.setdefault("finished_at", db_now())
    if state == "running":
        values = {"worker": WORKER, "slot": 1, "claimed_at": db_now()} | values
    if state in states.PROMOTE.sources:
        values.setdefault("run_after", db_now() - SECOND)
    values = {"task_path": "a.b", "state": state, "claim": CLAIM, "attempt": ATTEMPT} | values
    return Job.objects.create(**values)


def many(count: int, **values) -> list[Job]:
    return Job.objects.bulk_create(Job(**{"task_path": "a.b", "state": "queued"} | values) for _ in range(count))


def stored(job: Job) -> Job:
    return Job.objects.get(pk=job.pk)


def row(job: Job) -> dict:
    return Job.objects.filter(pk=job.pk).values().get()


def only(job: Job):
    return Job.objects.filter(pk=job.pk)


def held(*jobs: Job) -> list[Held]:
    return [Held(job.pk, job.claim) for job in jobs]


def outcome(transition: states.Transition, job: Job, **values) -> Outcome:
    """Return an outcome of a body that ran for two seconds and ended one second ago."""
    now = time.monotonic()
    values = {"started": now - 3, "finished": now - 1, "delay": 60.0 if transition is states.RETRY else None} | values
    return Outcome(transition=transition, job=job, **values)


def failure(**values) -> Failure:
    return Failure(**{"kind": "failed", "exception_class": "ValueError", "message": "no"} | values)


def record(transition: states.Transition, *jobs: Job, **values) -> set[UUID]:
    return moves.record([outcome(transition, job, **values) for job in jobs])


def claim(*jobs: Job, worker: UUID = WORKER, alone: bool = False) -> list[Job]:
    return moves.claim([job.pk for job in jobs], worker=worker, slot=1, alone=alone)


def lose_beyond(job: Job) -> list:
    Job.objects.filter(pk=job.pk).update(losses=F("max_losses"))
    return moves.lose(held(job), cause="killed")


def expire(job: Job) -> list[Moved]:
    Job.objects.filter(pk=job.pk).update(expires_at=DbNow())
    return moves.expire()


VERBS: dict[str, Callable[[Job], object]] = {
    "promote": lambda job: moves.promote(),
    "claim": claim,
    "release": lambda job: moves.release(held(job)),
    "postpone": lambda job: moves.postpone(held(job), seconds=60, reason="not known here"),
    "lose": lambda job: moves.lose(held(job), cause="killed"),
    "bury": lose_beyond,
    "cancel": lambda job: moves.cancel(only(job)),
    "expire": expire,
    "requeue": lambda job: moves.requeue(only(job)),
    **{one.name: lambda job, one=one: record(one, job) for one in OUTCOMES},
}
TABLE = {one.name: one for one in states.TRANSITIONS}
MINE = {"expire": {"expires_at"}, "bury": {"losses"}}  # what the verbs above change by themselves


# Each verb from each state


def test_a_moment_read_from_the_clock_has_come_at_once():
    one = make()

    for _ in range(50):  # the next statement often runs within the same millisecond
        Job.objects.filter(pk=one.pk).update(expires_at=db_now())
        assert backlog.late().exists()


def test_the_verbs_here_are_those_of_the_table():
    assert VERBS.keys() == TABLE.keys()


@pytest.mark.parametrize("state", states.STATES)
@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_moves_from_its_sources_and_changes_nothing_elsewhere(verb, state, sql):
    job = make(state)
    before = row(job)

    VERBS[verb](job)

    after = row(job)
    if state in TABLE[verb].sources:
        assert after["state"] == TABLE[verb].target
    else:
        changed = {name for name in after if after[name] != before[name]}
        assert changed <= MINE.get(verb, set())
        assert not Attempt.objects.exists()


@pytest.mark.parametrize("number", [CLAIM - 1, CLAIM + 1])
@pytest.mark.parametrize("verb", [name for name in VERBS if TABLE[name].fenced])
def test_who_holds_another_claim_moves_nothing(verb, number, sql):
    job = make("running")
    before = row(job)
    job.claim = number

    VERBS[verb](job)

    after = row(job)
    assert {name for name in after if after[name] != before[name]} <= MINE.get(verb, set())
    assert not Attempt.objects.exists()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_leaves_other_jobs_alone(verb, sql):
    job, other = make(TABLE[verb].sources[0]), make("running", worker=OTHER_WORKER, claim=CLAIM)
    before = row(other)

    VERBS[verb](job)

    assert stored(job).state == TABLE[verb].target
    assert row(other) == before


@pytest.mark.parametrize("verb", ["promote", "release", "postpone", "lose", "cancel", "expire", "requeue"])
def test_a_verb_tells_what_a_push_needs_to_know(verb):
    job = make(TABLE[verb].sources[0], queue_name="mail", priority=7)

    assert VERBS[verb](job) == [Moved(job.pk, "mail", 7)]


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_with_nothing_to_move_asks_for_nothing(verb):
    nobody = Job(task_path="a.b", claim=CLAIM)

    assert not VERBS[verb](nobody)


# Claim


def test_a_claim_is_fenced_by_a_new_number_and_names_its_holder(sql):
    job = make("queued", started_at=db_now())
    before = db_now()

    [claimed] = moves.claim([job.pk], worker=OTHER_WORKER, slot=3)

    now = stored(job)
    assert (now.state, now.claim, now.attempt) == ("running", CLAIM + 1, ATTEMPT + 1)
    assert (now.worker, now.slot, now.started_at) == (OTHER_WORKER, 3, None)
    assert before <= now.claimed_at <= db_now()
    assert (claimed.state, claimed.claim, claimed.attempt) == ("running", CLAIM + 1, ATTEMPT + 1)
    assert (claimed.worker, claimed.slot) == (OTHER_WORKER, 3)


def test_what_is_claimed_carries_all_that_a_worker_needs(sql):
    given = {
        "args": [1, {"b": [None, "ä\0"]}],
        "kwargs": {"c": 2},
        "metadata": {"m": 1},
        "context": {"user": 3},
        "queue_name": "mail",
        "priority": -3,
        "timeout": 1.5,
        "max_attempts": 4,
        "max_losses": 2,
        "failures": 1,
        "backend": "jobs",
        "created_by": "ann",
        "expires_at": db_now() + HOUR,
    }
    job = make("queued", **given)

    [claimed] = claim(job)

    assert {name: claimed.__dict__[name] for name in given if not is_encoded(name)} == {
        name: value for name, value in given.items() if not is_encoded(name)
    }
    assert {name: getattr(claimed, name) for name in given if is_encoded(name)} == {
        name: value for name, value in given.items() if is_encoded(name)
    }
    assert (claimed.pk, claimed.task_path, claimed.enqueued_at) == (job.pk, "a.b", job.enqueued_at)


def is_encoded(name: str) -> bool:
    return isinstance(Job._meta.get_field(name), EncodedField)


def test_claimed_jobs_come_in_the_order_of_their_ids(sql):
    jobs = many(20)
    wanted = [*jobs[::2], *jobs[::-2]]

    assert [job.pk for job in claim(*wanted)] == [job.pk for job in wanted]


def test_what_is_not_to_be_had_is_left_out(sql):
    waiting, gone = make("queued"), uuid4()
    rest = [make(state).pk for state in states.STATES if state != "queued"]

    claimed = moves.claim([gone, *rest, waiting.pk], worker=WORKER, slot=1)

    assert [job.pk for job in claimed] == [waiting.pk]


@pytest.mark.parametrize(
    ("values", "is_claimed"),
    [
        ({"run_after": -SECOND}, True),
        ({"run_after": HOUR}, False),
        ({"expires_at": HOUR}, True),
        ({"expires_at": -SECOND}, False),
    ],
)
def test_only_what_is_due_and_not_too_late_is_claimed(sql, values, is_claimed):
    job = make("queued", **{name: db_now() + delta for name, delta in values.items()})

    assert bool(claim(job)) is is_claimed


def test_a_job_of_a_paused_queue_is_not_claimed(sql):
    Queue.objects.create(name="mail", paused_at=db_now())
    Queue.objects.create(name="reports")
    paused, going, unknown = make(queue_name="mail"), make(queue_name="reports"), make(queue_name="new")

    assert [job.pk for job in claim(paused, going, unknown)] == [going.pk, unknown.pk]


def test_a_job_that_was_lost_before_is_claimed_alone(sql):
    lost, other = make(losses=1), make()

    assert [job.pk for job in claim(lost, other)] == [other.pk]
    assert backlog.lost_before([lost.pk, other.pk]) == [lost.pk]
    assert [job.pk for job in claim(lost, alone=True)] == [lost.pk]
    assert backlog.lost_before([lost.pk]) == []


def test_claiming_nothing_asks_nothing(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert moves.claim([], worker=WORKER, slot=1) == []


def in_threads(*works: Callable[[], object]) -> None:
    """Run the works at the same time, each on a connection of its own."""
    start = threading.Barrier(len(works))

    def run(work: Callable[[], object]) -> None:
        try:
            start.wait()
            work()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.django_db(transaction=True)
def test_workers_that_claim_the_same_ids_get_different_jobs(sql):
    ids = [job.pk for job in many(200)]
    claimed: dict[UUID, list[Job]] = {WORKER: [], OTHER_WORKER: []}

    def work(worker: UUID) -> None:
        for start in range(0, 200, 20):
            claimed[worker] += moves.claim(ids[start : start + 20], worker=worker, slot=1)

    in_threads(lambda: work(WORKER), lambda: work(OTHER_WORKER))

    mine, others = ({job.pk for job in claimed[worker]} for worker in (WORKER, OTHER_WORKER))
    assert (mine & others, mine | others) == (set(), set(ids))
    assert Job.objects.filter(state="running", claim=1, attempt=1).count() == 200
    assert set(Job.objects.filter(worker=WORKER).values_list("pk", flat=True)) == mine


# Rows that somebody has locked


@contextlib.contextmanager
def locked(job: Job) -> Iterator[None]:
    """Hold the row's lock on another connection."""
    other = connection.copy()
    other.set_autocommit(False)
    with other.cursor() as cursor:
        cursor.execute("SELECT 1 FROM django_jobs_job WHERE id = %s FOR UPDATE", [job.pk])
    try:
        yield
    finally:
        other.rollback()
        other.close()


BATCHES = {
    "promote": lambda *jobs: moves.promote(),
    "claim": claim,
    "release": lambda *jobs: moves.release(held(*jobs)),
    "postpone": lambda *jobs: moves.postpone(held(*jobs), seconds=60, reason=""),
    "lose": lambda *jobs: moves.lose(held(*jobs), cause="killed"),
    "cancel": lambda *jobs: moves.cancel(Job.objects.filter(pk__in=[job.pk for job in jobs])),
    "expire": lambda *jobs: moves.expire(),
    "requeue": lambda *jobs: moves.requeue(Job.objects.filter(pk__in=[job.pk for job in jobs])),
    "succeed": lambda *jobs: record(states.SUCCEED, *jobs),
}


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("verb", BATCHES)
def test_a_locked_row_holds_up_nobody_else(verb):
    values = {"expires_at": db_now()} if verb == "expire" else {}
    first, second = (make(TABLE[verb].sources[0], **values) for _ in range(2))
    before = row(first)

    with locked(first):
        BATCHES[verb](first, second)

    assert row(first) == before
    assert stored(second).state == TABLE[verb].target
    BATCHES[verb](first)
    assert stored(first).state == TABLE[verb].target


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_portable_claim_leaves_a_locked_row_out_too(monkeypatch):
    monkeypatch.setattr(moves, "statements", lambda alias: portable)
    first, second = make(), make()

    with locked(first):
        assert [job.pk for job in claim(first, second)] == [second.pk]


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_an_outcome_whose_row_is_locked_is_still_ours_to_record():
    ours, gone = make("running"), make("running", claim=CLAIM + 1)
    gone.claim = CLAIM

    with locked(ours):
        assert record(states.SUCCEED, ours, gone) == set()

    assert moves.still_held([ours, gone]) == {ours.pk}
    assert record(states.SUCCEED, ours, gone) == {ours.pk}


# Outcomes


def test_a_success_is_written_with_its_times_and_value(sql):
    [job] = claim(make())

    assert record(states.SUCCEED, job, return_value='{"a":1}', progress='{"done":3}', keep=3600.0) == {job.pk}

    now = stored(job)
    assert (now.state, now.return_value, now.progress) == ("succeeded", {"a": 1}, {"done": 3})
    assert (now.reason, now.last_error, now.failures) == ("", "", 0)
    assert (now.claim, now.attempt, now.worker) == (CLAIM + 1, ATTEMPT + 1, WORKER)
    assert about(now.finished_at - now.started_at, 2)
    assert about(db_now() - now.finished_at, 1, slack=5)
    assert about(now.prune_at - now.finished_at, 3601)
    assert now.run_after is None


def about(duration: timedelta, seconds: float, slack: float = 0.01) -> bool:
    return abs(duration.total_seconds() - seconds) <= slack


def test_an_outcome_without_progress_leaves_what_was_told(sql):
    job = make("running", progress={"done": 1})

    record(states.SUCCEED, job)

    assert stored(job).progress == {"done": 1}


def test_a_retry_is_due_after_its_pause_and_counts_a_failure(sql):
    job = make("running", failures=1)

    record(states.RETRY, job, delay=60.0, last_error="ValueError: no", failure=failure())

    now = stored(job)
    assert (now.state, now.failures, now.last_error) == ("retrying", 2, "ValueError: no")
    assert (now.finished_at, now.prune_at) == (None, None)
    assert about(now.run_after - now.started_at, 63)


@pytest.mark.parametrize(
    ("transition", "failures"),
    [(states.SUCCEED, 0), (states.RETRY, 1), (states.FAIL, 1), (states.STOP, 0), (states.DISCARD, 0)],
)
def test_only_failing_counts_as_a_failure(sql, transition, failures):
    job = make("running")

    record(transition, job, reason="why")

    assert (stored(job).failures, stored(job).reason) == (failures, "why")


@pytest.mark.parametrize(("keep", "seconds"), [(None, None), (60.0, 61)])
def test_a_finished_job_is_kept_as_long_as_it_says(sql, keep, seconds):
    job = make("running")

    record(states.FAIL, job, keep=keep)

    now = stored(job)
    assert now.prune_at is None if seconds is None else about(now.prune_at - now.finished_at, seconds)


@pytest.mark.parametrize("transition", [one for one in OUTCOMES if one is not states.RETRY], ids=lambda one: one.name)
def test_a_job_that_is_not_to_be_kept_goes_with_its_outcome(sql, transition):
    job, other = make("running"), make("running")
    Attempt.objects.create(job=job, number=1, kind="failed")

    recorded = moves.record([outcome(transition, job, keep=0, failure=failure()), outcome(transition, other)])

    assert recorded == {job.pk, other.pk}
    assert Job.objects.get().pk == other.pk
    assert not Attempt.objects.filter(job=job.pk).exists()


def test_a_job_that_is_not_to_be_kept_stays_until_it_is_finished(sql):
    job = make("running")

    record(states.RETRY, job, keep=0, failure=failure())

    assert stored(job).state == "retrying"
    assert Attempt.objects.count() == 1


def test_a_job_that_somebody_else_holds_is_not_deleted(sql):
    job = make("running")
    job.claim -= 1

    assert record(states.SUCCEED, job, keep=0) == set()
    assert stored(job).state == "running"


def test_an_outcome_of_a_job_given_back_too_early_counts_while_nobody_has_claimed_it(sql):
    [job] = claim(make())
    moves.lose(held(job), cause="no heartbeat")

    assert record(states.SUCCEED, job, return_value="1") == {job.pk}

    assert (stored(job).state, stored(job).return_value) == ("succeeded", 1)


def test_an_outcome_comes_too_late_once_somebody_else_has_claimed_the_job(sql):
    [job] = claim(make())
    moves.lose(held(job), cause="no heartbeat")
    [again] = claim(job, worker=OTHER_WORKER, alone=True)

    assert record(states.FAIL, job, failure=failure()) == set()

    assert (stored(job).state, stored(job).worker) == ("running", OTHER_WORKER)
    assert not Attempt.objects.filter(kind="failed").exists()
    assert record(states.SUCCEED, again) == {job.pk}


def test_an_outcome_is_written_once(sql):
    job = make("running")

    assert record(states.FAIL, job, failure=failure()) == {job.pk}
    assert record(states.SUCCEED, job) == set()

    assert (stored(job).state, stored(job).failures, Attempt.objects.count()) == ("failed", 1, 1)


def test_outcomes_of_all_kinds_are_written_together(sql):
    jobs = {one: make("running") for one in OUTCOMES}

    recorded = moves.record([outcome(one, job, failure=failure()) for one, job in jobs.items()])

    assert recorded == {job.pk for job in jobs.values()}
    assert {one: stored(job).state for one, job in jobs.items()} == {one: one.target for one in OUTCOMES}
    assert Attempt.objects.count() == 5


def test_an_attempt_says_who_failed_when_and_how(sql):
    job = make("running")

    record(states.FAIL, job, failure=failure(kind="timed_out", message="late", fingerprint="f", traceback="File x\n"))

    attempt = Attempt.objects.get()
    assert (attempt.job_id, attempt.number, attempt.kind, attempt.worker) == (job.pk, ATTEMPT, "timed_out", WORKER)
    assert (attempt.exception_class, attempt.message, attempt.traceback) == (
        "ValueError",
        "late",
        "File x\nValueError: late\n",
    )
    assert about(attempt.finished_at - attempt.started_at, 2)


def test_a_traceback_is_stored_once_for_all_that_failed_in_the_same_way(sql):
    same = failure(fingerprint="f", traceback="File x\n")
    Traceback.objects.create(fingerprint="old", text="File y\n")

    moves.record([outcome(states.FAIL, make("running"), failure=same) for _ in range(3)])
    moves.record([outcome(states.FAIL, make("running"), failure=same)])
    moves.record([outcome(states.FAIL, make("running"), failure=failure(fingerprint="old", traceback="File z"))])

    assert dict(Traceback.objects.values_list("fingerprint", "text")) == {"f": "File x\n", "old": "File y\n"}
    assert [attempt.traceback.splitlines()[0] for attempt in Attempt.objects.order_by("pk")] == [
        *["File x"] * 4,
        "File y",
    ]


def test_an_attempt_that_a_rescue_has_written_is_not_written_again(sql):
    [job] = claim(make())
    moves.lose(held(job), cause="no heartbeat")

    record(states.FAIL, job, failure=failure())

    assert Attempt.objects.get().kind == "lost"
    assert stored(job).state == "failed"


@pytest.mark.postgresql
def test_a_batch_of_successes_is_one_statement(django_assert_num_queries):
    jobs = many(100, state="running")

    with django_assert_num_queries(1):
        record(states.SUCCEED, *jobs, return_value="1")
    assert Job.objects.filter(state="succeeded").count() == 100


# Given back


def test_what_never_started_is_given_back_without_a_trace():
    [job] = claim(make())

    moves.release(held(job))

    now = stored(job)
    assert (now.state, now.attempt, now.claim) == ("queued", ATTEMPT, CLAIM + 1)
    assert (now.worker, now.slot, now.interruptions, now.losses, now.failures) == (None, None, 0, 0, 0)
    assert not Attempt.objects.exists()


def test_what_was_interrupted_is_given_back_with_an_attempt():
    [job] = claim(make())

    moves.release(held(job), started=True)

    now, attempt = stored(job), Attempt.objects.get()
    assert (now.state, now.attempt, now.interruptions, now.failures) == ("queued", ATTEMPT + 1, 1, 0)
    assert (attempt.kind, attempt.number, attempt.worker) == ("interrupted", ATTEMPT + 1, WORKER)


def test_jobs_of_different_claims_are_given_back_together():
    jobs = [make("running", claim=number) for number in (1, 1, 2, 9)]

    assert {one.id for one in moves.release(held(*jobs))} == {job.pk for job in jobs}


def test_what_this_worker_cannot_run_is_due_again_later():
    [job] = claim(make(run_after=db_now() - HOUR))
    before = db_now()

    moves.postpone(held(job), seconds=60, reason="x" * 300)

    now = stored(job)
    assert (now.state, now.attempt, now.interruptions, now.reason) == ("scheduled", ATTEMPT, 1, "x" * 200)
    assert before + 60 * SECOND <= now.run_after <= db_now() + 60 * SECOND
    assert (now.worker, Attempt.objects.count()) == (None, 0)


@pytest.mark.parametrize("max_losses", [0, 1, 3])
def test_a_job_that_keeps_killing_its_worker_fails_beyond_max_losses(max_losses):
    job = make(max_losses=max_losses, attempt=0)

    for _ in range(max_losses):
        assert moves.lose(held(*claim(job, alone=True)), cause="killed by signal 9")
        assert stored(job).state == "queued"
    assert moves.lose(held(*claim(job, alone=True)), cause="killed by signal 9") == []

    now = stored(job)
    assert (now.state, now.reason, now.last_error) == ("failed", "worker died", "killed by signal 9")
    assert (now.losses, now.failures, now.attempt) == (max_losses + 1, 0, max_losses + 1)
    assert now.finished_at <= db_now() < now.prune_at
    assert [(one.number, one.kind, one.message, one.worker) for one in now.errors] == [
        (number, "lost", "killed by signal 9", WORKER) for number in range(1, max_losses + 2)
    ]


def test_only_those_that_lost_too_many_workers_fail():
    once, often = make("running"), make("running", losses=3)

    moves.lose(held(once, often), cause="x" * 600)

    assert (stored(once).state, stored(often).state) == ("queued", "failed")
    assert len(stored(once).last_error) == 500


# By the clock


def test_what_is_due_is_promoted_those_that_wait_longest_first():
    now = db_now()
    late, later = make("scheduled", run_after=now - HOUR), make("retrying", run_after=now - 2 * HOUR)
    not_yet = make("scheduled", run_after=now + HOUR)

    assert [one.id for one in moves.promote(limit=1)] == [later.pk]
    assert [one.id for one in moves.promote()] == [late.pk]

    assert stored(not_yet).state == "scheduled"


def test_what_did_not_start_in_time_is_cancelled_and_says_so():
    now = db_now()
    late, early = make("queued", expires_at=now - SECOND), make("queued", expires_at=now + HOUR)
    running, done = make("running", expires_at=now - SECOND), make("succeeded", expires_at=now - SECOND)

    assert [one.id for one in moves.expire()] == [late.pk]

    cancelled = stored(late)
    assert (cancelled.state, cancelled.reason) == ("cancelled", "expired")
    assert cancelled.finished_at <= db_now() < cancelled.prune_at
    assert [stored(job).state for job in (early, running, done)] == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("verb", [moves.promote, moves.expire])
def test_chores_take_bounded_batches(verb):
    now = db_now()
    many(5, state="scheduled", run_after=now - SECOND, expires_at=now - SECOND)

    assert [len(verb(limit=2)) for _ in range(4)] == [2, 2, 1, 0]


# By people


def test_a_cancelled_job_says_why():
    job = make("scheduled")

    moves.cancel(only(job), reason="x" * 300)

    now = stored(job)
    assert (now.state, now.reason) == ("cancelled", "x" * 200)
    assert now.finished_at <= db_now() < now.prune_at


def test_running_jobs_are_asked_to_stop_once():
    running, waiting = make("running"), make("queued")

    assert moves.request_cancel(Job.objects.all()) == 1
    assert moves.request_cancel(Job.objects.all()) == 0

    assert moves.cancel_requested(held(running, waiting)) == held(running)
    assert moves.cancel_requested([Held(running.pk, running.claim + 1)]) == []
    assert stored(waiting).cancel_requested_at is None


@pytest.mark.parametrize("verb", ["release", "postpone", "lose", "retry"])
def test_what_somebody_wants_stopped_does_not_wait_to_run_again(verb):
    wanted, other = make("running"), make("running")
    moves.request_cancel(only(wanted))

    if verb == "retry":
        record(states.RETRY, wanted, other, failure=failure())
    else:
        assert [one.id for one in BATCHES[verb](wanted, other)] == [other.pk]

    now = stored(wanted)
    assert (now.state, now.reason) == ("cancelled", "cancelled while running")
    assert now.finished_at <= db_now() < now.prune_at
    assert stored(other).state == TABLE[verb].target


@pytest.mark.parametrize("state", states.FINAL)
def test_a_job_that_is_retried_begins_anew_and_keeps_its_history(state):
    now = db_now()
    job = make(
        state,
        failures=3,
        losses=2,
        interruptions=1,
        reason="no attempts left",
        last_error="ValueError",
        return_value=1,
        progress={"done": 1},
        run_after=now - HOUR,
        expires_at=now - HOUR,
        started_at=now,
        cancel_requested_at=now,
        prune_at=now,
        worker=WORKER,
        slot=1,
    )
    Attempt.objects.create(job=job, number=1, kind="failed")

    moves.requeue(only(job))

    again = row(job)
    zeroed = ("failures", "losses", "interruptions")
    emptied = ("return_value", "progress", "run_after", "expires_at", "started_at", "finished_at")
    assert [again[name] for name in zeroed] == [0, 0, 0]
    assert {again[name] for name in (*emptied, "cancel_requested_at", "prune_at", "worker", "slot")} == {None}
    assert (again["reason"], again["last_error"]) == ("", "")
    assert (again["claim"], again["attempt"], Attempt.objects.count()) == (CLAIM + 1, ATTEMPT, 1)
    assert [one.pk for one in claim(job)] == [job.pk]


# Looks


def test_waiting_jobs_are_found_queue_by_queue_the_most_urgent_first():
    Queue.objects.create(name="paused", paused_at=db_now())
    late, urgent, next_ = make(priority=0), make(priority=9), make(priority=0)
    report = make(queue_name="reports", priority=100)
    make(queue_name="paused"), make("queued", run_after=db_now() + HOUR), make("running")

    assert backlog.waiting(["default", "paused", "reports"], 9) == [urgent.pk, late.pk, next_.pk, report.pk]
    assert backlog.waiting(["reports", "default"], 2) == [report.pk, urgent.pk]


@pytest.mark.parametrize(
    ("state", "values", "is_due"),
    [
        ("queued", {}, True),
        ("queued", {"queue_name": "reports"}, False),
        ("queued", {"queue_name": "paused"}, False),
        ("queued", {"expires_at": -HOUR}, False),
        ("scheduled", {"run_after": -HOUR}, True),
        ("retrying", {"run_after": -HOUR}, True),
        ("retrying", {"run_after": HOUR}, False),
        ("running", {}, False),
        ("failed", {}, False),
    ],
)
def test_work_is_due_when_a_worker_of_the_queues_could_run_it_now(state, values, is_due):
    Queue.objects.create(name="paused", paused_at=db_now())
    now = db_now()
    make(state, **{name: now + value if isinstance(value, timedelta) else value for name, value in values.items()})

    assert backlog.is_work_due(["default", "paused"]) is is_due


def test_the_queues_with_work_are_those_with_queued_jobs():
    make(queue_name="b"), make(queue_name="a"), make(queue_name="b"), make("running", queue_name="c")

    assert list(backlog.queues_with_work()) == ["a", "b"]


def test_a_worker_finds_what_the_database_says_that_it_runs():
    first, second = make("running", slot=1), make("running", slot=2)
    make("running", worker=OTHER_WORKER), make("succeeded", worker=WORKER, slot=1)

    assert {one for one, _ in moves.held_by_slot(WORKER)} == set(held(first, second))
    assert moves.held_by(WORKER, 2) == held(second)


def test_what_a_running_body_says_is_written_for_the_holder_of_the_claim():
    job, lost = make("running"), make("running", claim=CLAIM + 1)
    before = db_now()
    stale = Held(lost.pk, CLAIM)

    moves.note_started([(*held(job), 60.0), (stale, 60.0)])
    written = [moves.note_told(one, '{"done":1}', "a line\n") for one in (*held(job), stale)]

    now = stored(job)
    assert before - 60 * SECOND <= now.started_at <= db_now() - 60 * SECOND
    assert (now.progress, now.log, written) == ({"done": 1}, "a line\n", [True, False])
    assert (stored(lost).started_at, stored(lost).progress, stored(lost).log) == (None, None, None)


# What the database itself refuses


@pytest.mark.parametrize("state", states.STATES)
def test_exactly_the_final_states_have_an_end(state):
    is_final = state in states.FINAL
    make(state)

    with pytest.raises(IntegrityError), transaction.atomic():
        Job.objects.create(task_path="a.b", state=state, finished_at=None if is_final else db_now())


# What it costs


PARTIAL = {"dj_job_queued", "dj_job_due", "dj_job_running", "dj_job_expires"}  # hold only what is not finished


def scans(plan: dict) -> Iterator[str]:
    """Yield the nodes of a plan that read more of the jobs than they were asked for."""
    if plan.get("Relation Name") == "django_jobs_job" or plan["Node Type"] == "Bitmap Index Scan":
        is_index = "Index" in plan["Node Type"] and (plan.get("Index Cond") or plan.get("Index Name") in PARTIAL)
        is_heap_of_bitmap = plan["Node Type"] == "Bitmap Heap Scan"
        is_change = plan["Node Type"] == "ModifyTable"
        if not (is_index or is_heap_of_bitmap or is_change or plan["Node Type"] == "Tid Scan"):
            yield f"{plan['Node Type']} {plan.get('Index Name', '')} {plan.get('Filter', '')}"
    for child in plan.get("Plans", ()):
        yield from scans(child)


@contextlib.contextmanager
def scans_of_jobs() -> Iterator[list[str]]:
    """Explain every statement before it is executed; collect those that scan the table."""
    found: list[str] = []

    def explained(execute, sql, params, many, context):
        if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE", "INSERT", "WITH")) and "django_jobs_job" in sql:
            with context["connection"].connection.cursor() as cursor:
                cursor.execute("EXPLAIN (FORMAT JSON) " + sql, params)
                [[[plan]]] = cursor.fetchall()
            found.extend(f"{scan}: {sql}" for scan in scans(plan["Plan"]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(explained):
        yield found


def fill() -> None:
    """Insert 50,000 finished and 5,000 queued jobs, and some in every other state, and let the planner know."""
    insert = """
        INSERT INTO django_jobs_job (
            id, task_path, args, kwargs, metadata, context, queue_name, priority, state, reason, max_losses, claim,
            attempt, failures, losses, interruptions, last_error, backend, created_by, finished_at, prune_at,
            run_after, expires_at, worker, slot, claimed_at
        ) SELECT gen_random_uuid(), 'a.b', '[]', '{}', '{}', '{}', CASE WHEN i %% 3 = 0 THEN 'mail' ELSE 'default' END,
            i %% 5, %(state)s, '', 3, 1, 1, 0, 0, 0, '', '', '', %(finished)s::timestamptz + i * INTERVAL '1 second',
            %(finished)s::timestamptz + i * INTERVAL '1 minute', %(due)s::timestamptz - i * INTERVAL '1 second',
            CASE WHEN i %% 50 = 0 THEN %(expires)s::timestamptz END, %(worker)s, %(slot)s, %(finished)s
        FROM generate_series(1, %(count)s) AS i
    """
    now = db_now()
    nothing = {"finished": None, "due": None, "expires": None, "worker": None, "slot": None}
    with connection.cursor() as cursor:
        for values in (
            {"state": "succeeded", "count": 48_000, "finished": now, "worker": uuid4(), "expires": now},
            {"state": "failed", "count": 2_000, "finished": now},
            {"state": "queued", "count": 5_000, "expires": now + HOUR},
            {"state": "scheduled", "count": 500, "due": now + HOUR},
            {"state": "retrying", "count": 100, "due": now},
            {"state": "running", "count": 50, "worker": OTHER_WORKER, "slot": 1},
        ):
            cursor.execute(insert, nothing | values)
        cursor.execute("ANALYZE django_jobs_job, django_jobs_queue")


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_no_statement_on_the_way_of_a_job_scans_the_table(sql):
    fill()
    now = db_now()
    waiting = list(Job.objects.filter(state="queued", expires_at=None)[:400])

    with scans_of_jobs() as found:
        make("scheduled", run_after=now - HOUR)
        moves.promote()
        backlog.waiting(["default", "mail"], 100)
        backlog.lost_before([job.pk for job in waiting])
        list(backlog.queues_with_work())
        jobs = claim(*waiting[:100])
        alone = claim(waiting[100], alone=True)
        moves.held_by_slot(WORKER)
        moves.held_by(WORKER, 1)
        moves.note_started([(one, 1.0) for one in held(*jobs[:2])])
        assert all([moves.note_told(one, "{}", "a line\n") for one in held(*jobs[:2])])
        moves.cancel_requested(held(*jobs))
        moves.still_held(jobs)
        record(states.SUCCEED, *jobs[:50], return_value="1")
        record(states.RETRY, *jobs[50:60], failure=failure(fingerprint="f", traceback="x"))
        record(states.SUCCEED, *jobs[60:70], keep=0)
        moves.release(held(*jobs[70:80]))
        moves.release(held(*jobs[80:85]), started=True)
        moves.postpone(held(*jobs[85:90]), seconds=60, reason="")
        moves.lose(held(*jobs[90:], *alone), cause="killed")
        moves.requeue(Job.objects.filter(pk__in=[job.pk for job in jobs[:50]]))
        moves.cancel(Job.objects.filter(pk__in=[job.pk for job in waiting[200:210]]))
        moves.request_cancel(Job.objects.filter(pk=waiting[0].pk))
        Job.objects.filter(pk=waiting[300].pk).update(expires_at=now)
        moves.expire()
        waiting[0].refresh()

    assert found == []


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_the_look_for_due_work_does_not_scan_the_table():
    fill()

    with scans_of_jobs() as found:
        before = backlog.is_work_due(["reports"]), backlog.is_work_due(["mail"])
        moves.promote()
        after = [backlog.is_work_due([queue]) for queue in ("default", "mail", "reports")]

    assert (before, after) == ((False, True), [True, True, False])
    assert found == []


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_the_chores_do_not_scan_the_table():
    fill()

    with scans_of_jobs() as found:
        for queue in ("mail", "default"):
            for priority in reconcile.priorities_of(queue):
                assert len(list(reconcile.rows_of((queue, priority)).order_by("-pk")[:5])) == 5
                assert sum(map(len, reconcile.pages_of((queue, priority)))) > 300
        assert Rescue()._free_jobs() == 50
        assert prune() == 0

    assert found == []


@pytest.mark.postgresql
def test_the_look_for_scans_finds_one():
    make()

    with scans_of_jobs() as found:
        Job.objects.filter(created_by="ann").exists()

    assert [scan.split()[0] for scan in found] == ["Seq"]


def wal_position() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_current_wal_insert_lsn() - '0/0'")
        return int(cursor.fetchone()[0])


def carry(count: int) -> None:
    """Enqueue jobs one by one with 100 bytes of arguments, and let a worker run them by the hundred."""
    jobs = []
    for _ in range(count):
        jobs.append(Job(task_path="shop.tasks.charge_card", args=["x" * 94], kwargs={}))
        jobs[-1].save(force_insert=True)
    for start in range(0, count, 100):
        record(states.SUCCEED, *claim(*jobs[start : start + 100]), return_value='"ok"', keep=604_800.0)


@pytest.mark.postgresql
@pytest.mark.django_db(transaction=True)
def test_a_job_costs_at_most_1800_bytes_of_wal(postgres):
    """The difference of the log's position over 500 jobs from enqueue to success.

    The jobs before the measured ones take upon them what comes once after each checkpoint: the first change of a
    page writes the whole page. Under load that is spread over all jobs between two checkpoints; new pages, to
    which most rows go, never cost it.
    """
    with without_autovacuum(postgres):
        with connection.cursor() as cursor:
            cursor.execute("CHECKPOINT")
        carry(200)

        before = wal_position()
        carry(500)
        bytes_per_job = (wal_position() - before) / 500

    assert Job.objects.filter(state="succeeded").count() == 700
    assert bytes_per_job <= 1800
