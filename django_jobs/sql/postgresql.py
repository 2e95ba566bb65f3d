"""Claim and record on PostgreSQL: one statement for a batch, rows locked by somebody else left out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from uuid import UUID

from django.db import connections
from django.db.models import Field

from ..models import EncodedField, EncodedText, Job, Queue
from .outcome import Row

# What a worker does not need to run a job stays in the database until somebody looks.
NOT_CLAIMED = frozenset(
    {
        "return_value",
        "reason",
        "started_at",
        "finished_at",
        "last_error",
        "progress",
        "parent",
        "copied_from",
        "prune_at",
    }
)

CLAIM = """
WITH picked AS (
    SELECT id FROM {job}
    WHERE id = ANY(%(ids)s) AND state = 'queued' AND losses <= %(max_losses)s
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
        %s::float8[], %s::float8[], %s::float8[], %s::float8[]
    ) AS r(id, claim, state, reason, last_error, return_value, progress, failures,
           delay, started_ago, finished_ago, keep)
), picked AS (
    SELECT j.id FROM {job} AS j JOIN rows ON j.id = rows.id
    WHERE j.claim = rows.claim AND j.state IN ('running', 'queued')
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


def claim(alias: str, ids: Sequence[UUID], worker: UUID, slot: int, max_losses: int) -> list[Job]:
    """Claim those of the ids that are queued, due, not paused and no one else's; return them.

    Rows with more than ``max_losses`` losses are left alone.
    """
    with connections[alias].cursor() as cursor:
        cursor.execute(_claim_sql(), {"ids": list(ids), "max_losses": max_losses, "worker": worker, "slot": slot})
        rows = cursor.fetchall()
    return [_job(alias, row) for row in rows]


def record(alias: str, rows: Sequence[Row]) -> set[UUID]:
    """Write outcomes for those jobs whose claim is still the one given; return their ids."""
    columns = [[getattr(row, name) for row in rows] for name in Row.__slots__]
    with connections[alias].cursor() as cursor:
        cursor.execute(_record_sql(), columns)
        return {id for (id,) in cursor.fetchall()}


def _job(alias: str, row: tuple) -> Job:
    values = list(row)
    for place in _encoded_places():
        if values[place] is not None:
            values[place] = EncodedText(values[place])
    return Job.from_db(alias, _columns(), values)


def _claimed_fields() -> list[Field]:
    return [field for field in Job._meta.concrete_fields if field.name not in NOT_CLAIMED]


@cache
def _columns() -> list[str]:
    return [field.attname for field in _claimed_fields()]  # in the model's order, as from_db wants it


@cache
def _encoded_places() -> list[int]:
    return [place for place, field in enumerate(_claimed_fields()) if isinstance(field, EncodedField)]


@cache
def _claim_sql() -> str:
    columns = ", ".join(f"j.{name}" for name in _columns())
    return CLAIM.format(job=Job._meta.db_table, queue=Queue._meta.db_table, columns=columns)


@cache
def _record_sql() -> str:
    return RECORD.format(job=Job._meta.db_table, now="STATEMENT_TIMESTAMP()", second="INTERVAL '1 second'")
