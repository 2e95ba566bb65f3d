"""What somebody else may do to the database while workers run, and what they ask it meanwhile."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from django.db import connection

from django_jobs.models import Job
from tests.services import Postgres, wait_for


@contextlib.contextmanager
def locked(job: Job) -> Iterator[None]:
    """Hold a job's row, as a transaction does that somebody has left open."""
    other = connection.copy()
    other.set_autocommit(False)
    try:
        with other.cursor() as cursor:
            cursor.execute("SELECT 1 FROM django_jobs_job WHERE id = %s FOR UPDATE", [job.pk])
        yield
    finally:
        other.rollback()
        other.close()


@contextlib.contextmanager
def refusing(condition: str, code: str = "P0001") -> Iterator[None]:
    """Make the database refuse every change of a job after which the condition is true.

    On PostgreSQL with the error of that SQLSTATE; SQLite knows one error only.
    """
    with _trigger(condition, f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}'", "SELECT RAISE(ABORT, 'no')"):
        yield


@contextlib.contextmanager
def slow(seconds: float) -> Iterator[None]:
    """Make every change of a job last so long. PostgreSQL only."""
    with _trigger("true", f"PERFORM pg_sleep({seconds})", ""):
        yield


@contextlib.contextmanager
def _trigger(condition: str, on_postgresql: str, on_sqlite: str) -> Iterator[None]:
    create = f"CREATE TRIGGER disturb BEFORE UPDATE ON django_jobs_job FOR EACH ROW WHEN ({condition})"
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(
                "CREATE FUNCTION disturb() RETURNS trigger LANGUAGE plpgsql"
                f" AS $$ BEGIN {on_postgresql}; RETURN NEW; END $$"
            )
            cursor.execute(f"{create} EXECUTE FUNCTION disturb()")
        else:
            cursor.execute(f"{create} BEGIN {on_sqlite}; END")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                cursor.execute("DROP TRIGGER disturb ON django_jobs_job")
                cursor.execute("DROP FUNCTION disturb")
            else:
                cursor.execute("DROP TRIGGER disturb")


@contextlib.contextmanager
def statements(postgres: Postgres) -> Iterator[list[str]]:
    """Fill a list with the statements that the server gets inside the block."""
    seen: list[str] = []
    set_option(postgres, "log_statement = 'all'")
    path = postgres.folder / "log"
    start = path.stat().st_size
    try:
        yield seen
    finally:
        with path.open(errors="replace") as file:
            file.seek(start)
            seen += re.findall(r"LOG:  (?:statement|execute [^:]*): (.*)", file.read())
        set_option(postgres, "log_statement = 'none'")


@contextlib.contextmanager
def without_autovacuum(postgres: Postgres) -> Iterator[None]:
    """Let the database write for nobody but those who ask it to."""
    set_option(postgres, "autovacuum = off")
    try:
        yield
    finally:
        set_option(postgres, "autovacuum = on")


def set_option(postgres: Postgres, option: str) -> None:
    postgres.execute(f"ALTER SYSTEM SET {option}")
    postgres.execute("SELECT pg_reload_conf()")
    name, value = option.split(" = ")
    wait_for(lambda: postgres.execute(f"SHOW {name}") == [(value.strip("'"),)], 10, "the option")
