"""Insert, claim and record on PostgreSQL: one statement for a batch, rows locked by somebody else left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from django.db import connections

from .. import codec, states
from ..models import Counter, EncodedText, Job, Queue
from ..models.counter import Cell
from .outcome import Row

# The columns that a new job may fill, and their types; the others begin as NOTHING_YET or as NULL.
NEW = {
    "id": "uuid",
    "task_path": "text",
    "args": "text",
    "kwargs": "text",
    "metadata": "text",
    "context": "text",
    "queue_name": "text",
    "priority": "int",
    "state": "text",
    "run_after": "timestamptz",
    "expires_at": "timestamptz",
    "enqueued_at": "timestamptz",  # None: now
    "timeout": "float8",
    "max_attempts": "int",
    "max_losses": "int",
    "backend": "text",
    "schedule_id": "bigint",
    "parent": "uuid",
    "copied_from": "uuid",
    "created_by": "text",
}
ENCODED = ("args", "kwargs", "metadata", "context")  # none of them is ever NULL
NOTHING_YET = {
    "reason": "''",
    "last_error": "''",
    "claim": "0",
    "attempt": "0",
    "failures": "0",
    "losses": "0",
    "interruptions": "0",
}

NOW_IF_NULL = "COALESCE({}, STATEMENT_TIMESTAMP())"

INSERT = """
WITH new AS (
    INSERT INTO {job} ({columns}, {others})
    SELECT {values}, {nothing_yet} FROM UNNEST({arrays}) AS r({names})
)
SELECT STATEMENT_TIMESTAMP()
"""

# The same for one job, which a person may wait for: a third of the time.
INSERT_ONE = """
INSERT INTO {job} ({columns}, {others}) VALUES ({values}, {nothing_yet}) RETURNING STATEMENT_TIMESTAMP()
"""

# What a worker needs to run a job; the rest stays in the database until somebody looks.
CLAIMED = (
    "id",
    "task_path",
    *ENCODED,
    "queue_name",
    "priority",
    "run_after",
    "expires_at",
    "timeout",
    "max_attempts",
    "max_losses",
    "claim",
    "attempt",
    "failures",
    "losses",
    "interruptions",
    "enqueued_at",
    "claimed_at",
    "cancel_requested_at",
    "backend",
    "schedule_id",
    "parent",
    "followed",
    "created_by",
)

TEXTS = frozenset({"state", "reason", "last_error", "return_value", "progress"})  # of an outcome's row

# Not state = 'queued': see backlog.by_key.
CLAIM = """
WITH picked AS (
    SELECT id FROM {job}
    WHERE id = ANY(%(ids)s::uuid[]) AND state IN ('queued', '') AND (%(alone)s OR (losses = 0 AND NOT suspected))
      AND (run_after IS NULL OR run_after <= STATEMENT_TIMESTAMP())
      AND (expires_at IS NULL OR expires_at > STATEMENT_TIMESTAMP())
      AND queue_name NOT IN (SELECT name FROM {queue} WHERE paused_at IS NOT NULL)
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE {job} AS j
SET state = 'running', claim = j.claim + 1, attempt = j.attempt + 1, worker = %(worker)s, slot = %(slot)s,
    claimed_at = STATEMENT_TIMESTAMP(), started_at = NULL
FROM picked WHERE j.id = picked.id
RETURNING {columns}
"""

RECORD = """
WITH rows AS (
    SELECT * FROM UNNEST(
        %s::uuid[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::int[],
        %s::float8[], %s::float8[], %s::float8[], %s::float8[], %s::bool[]
    ) AS r(id, claim, state, reason, last_error, return_value, progress, failures,
           delay, started_ago, finished_ago, keep, followed)
), picked AS (
    SELECT j.id FROM {job} AS j JOIN rows ON j.id = rows.id
    WHERE j.claim = rows.claim AND j.state IN ('running', 'queued') AND (rows.followed OR NOT j.followed)
    FOR NO KEY UPDATE OF j SKIP LOCKED
)
UPDATE {job} AS j
SET state = r.state, reason = r.reason, last_error = r.last_error, return_value = r.return_value,
    progress = COALESCE(r.progress, j.progress), failures = j.failures + r.failures,
    run_after = CASE WHEN r.delay IS NULL THEN j.run_after ELSE {now} + r.delay * {second} END,
    started_at = {now} - r.started_ago * {second},
    finished_at = {now} - r.finished_ago * {second},
    prune_at = CASE WHEN r.finished_ago IS NOT NULL THEN {now} + r.keep * {second} END
FROM rows AS r, picked WHERE j.id = r.id AND j.id = picked.id
RETURNING j.id
"""

# In one order everywhere, so that two workers that add to the same rows wait for each other, and in no circle.
ADD_COUNTS = """
INSERT INTO {counter} AS c (since, seconds, queue_name, kind, bucket, count)
SELECT * FROM UNNEST(%s::timestamptz[], %s::int[], %s::text[], %s::text[], %s::int[], %s::bigint[])
ORDER BY 1, 2, 3, 4, 5
ON CONFLICT (seconds, since, queue_name, kind, bucket) DO UPDATE SET count = c.count + EXCLUDED.count
"""


def insert(alias: str, jobs: Sequence[Job]) -> None:
    """Insert new jobs, and tell them when."""
    columns = {name: _new_values(name, [job.__dict__[name] for job in jobs]) for name in NEW}
    with connections[alias].cursor() as cursor:
        if len(jobs) == 1:
            cursor.execute(_insert_one_sql(), [value for (value,) in columns.values()])
        else:
            cursor.execute(_insert_sql(), [_array_of(NEW[name], values) for name, values in columns.items()])
        (now,) = cursor.fetchone()
    for job in jobs:
        if not isinstance(job.enqueued_at, datetime):
            job.enqueued_at = now
        job._state.db, job._state.adding = alias, False


def _new_values(name: str, values: list[Any]) -> list[Any]:
    if name in ENCODED:
        return [str(value) if type(value) is EncodedText else codec.dumps(value) for value in values]
    if name == "enqueued_at":
        return [value if isinstance(value, datetime) else None for value in values]
    return values


def claim(alias: str, ids: Sequence[UUID], worker: UUID, slot: int, alone: bool) -> list[Job]:
    """Claim those of the ids that are queued, due, not paused and no one else's; return them.

    Those with which a process has died before are claimed only to run ``alone``.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(_claim_sql(), {"ids": _array(ids), "alone": alone, "worker": worker, "slot": slot})
        rows = cursor.fetchall()
    return [_job(alias, row, state=states.RUNNING, worker=worker, slot=slot) for row in rows]


def record(alias: str, rows: Sequence[Row]) -> set[UUID]:
    """Write outcomes for those jobs whose claim is still the one given; return their ids."""
    columns = zip(Row._fields, zip(*rows, strict=True), strict=True)
    arrays = [_texts(values) if name in TEXTS else _array(values) for name, values in columns]
    with connections[alias].cursor() as cursor:
        cursor.execute(_record_sql(), arrays)
        return {id for (id,) in cursor.fetchall()}


def add_counts(alias: str, counts: Mapping[Cell, int]) -> None:
    """Add to counters, several workers at once; those that are not there begin with what is added."""
    columns = [list(column) for column in zip(*counts, strict=True)]
    with connections[alias].cursor() as cursor:
        cursor.execute(ADD_COUNTS.format(counter=Counter._meta.db_table), [*columns, list(counts.values())])


def _array(values: Iterable[Any]) -> str:
    """Return an array of PostgreSQL of ids or numbers: a tenth of what the driver takes for a list."""
    return f"{{{','.join(['NULL' if value is None else str(value) for value in values])}}}"


def _array_of(kind: str, values: Iterable[Any]) -> str:
    return _texts(values) if kind == "text" else _array(values)


def _texts(values: Iterable[str | None]) -> str:
    """Return an array of PostgreSQL of texts."""
    return _array(value if value is None else _quoted(value) for value in values)


def _quoted(text: str) -> str:
    text = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{text}"'


def _job(alias: str, row: tuple, **known: Any) -> Job:
    columns = dict(zip(CLAIMED, row, strict=True), **known)
    for name in ENCODED:
        columns[name] = EncodedText(columns[name])
    return Job.loaded(alias, columns)


@cache
def _insert_sql() -> str:
    names = ", ".join(NEW)
    return INSERT.format(
        job=Job._meta.db_table,
        columns=names,
        others=", ".join(NOTHING_YET),
        values=_new_places("r.{name}"),
        nothing_yet=", ".join(NOTHING_YET.values()),
        arrays=", ".join(f"%s::{kind}[]" for kind in NEW.values()),
        names=names,
    )


@cache
def _insert_one_sql() -> str:
    return INSERT_ONE.format(
        job=Job._meta.db_table,
        columns=", ".join(NEW),
        others=", ".join(NOTHING_YET),
        values=_new_places("%s::{kind}"),
        nothing_yet=", ".join(NOTHING_YET.values()),
    )


def _new_places(place: str) -> str:
    places = {name: place.format(name=name, kind=kind) for name, kind in NEW.items()}
    places["enqueued_at"] = NOW_IF_NULL.format(places["enqueued_at"])
    return ", ".join(places.values())


@cache
def _claim_sql() -> str:
    columns = ", ".join(f"j.{name}" for name in CLAIMED)
    return CLAIM.format(job=Job._meta.db_table, queue=Queue._meta.db_table, columns=columns)


@cache
def _record_sql() -> str:
    return RECORD.format(job=Job._meta.db_table, now="STATEMENT_TIMESTAMP()", second="INTERVAL '1 second'")
