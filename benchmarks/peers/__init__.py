"""Who is measured. One file each beside this one; this table is read without their packages.

A peer's file runs in the peer's own virtualenv and offers the same five functions:

``enqueue(work, number, payload)``
    hands one job over, in the way its documentation shows.
``enqueue_many(work, numbers, payload)``
    hands many over at once; None where it has no such thing.
``worker(processes, threads, is_async)``
    returns the commands that run bodies in so many processes with so many threads, configured for
    throughput as its documentation recommends. None threads: as many as it does best with. Where
    there are no threads, it takes more processes. ``is_async`` tells those who need to be told that the
    bodies are coroutines, a hundred of which should run at a time.
``recorded()``
    returns how many outcomes are on record in the database; None where it keeps none there.
``clear()``
    empties its tables. Redis is flushed for all.

The first lines of its docstring go into the report.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One contestant: a package in one configuration."""

    name: str
    module: str  # the file beside this one, and the name of its virtualenv
    packages: tuple[str, ...]  # for pip
    apps: tuple[str, ...] = ()  # for INSTALLED_APPS
    records: str = "nothing"  # where outcomes are kept
    runs_async: bool = False  # async def tasks, several at a time in one process


DJANGO = ("Django", "psycopg[binary]")
CELERY = ("celery[redis]", "django-celery-results", *DJANGO)

PEERS = {
    peer.name: peer
    for peer in [
        Peer(
            name="ours",
            module="ours",
            packages=("-e .", *DJANGO),
            apps=("django_jobs", "benchmarks.peers"),
            records="PostgreSQL",
            runs_async=True,
        ),
        Peer(name="celery", module="celery", packages=CELERY),
        Peer(name="celery-solo", module="celery", packages=CELERY),
        Peer(
            name="celery-results",
            module="celery",
            packages=CELERY,
            apps=("django_celery_results",),
            records="PostgreSQL",
        ),
        Peer(name="rq", module="rq", packages=("rq", *DJANGO), records="Redis, 500 s"),
        Peer(name="dramatiq", module="dramatiq", packages=("dramatiq[redis]", *DJANGO), runs_async=True),
        Peer(name="huey", module="huey", packages=("huey", "redis", *DJANGO)),
        Peer(
            name="django-q2",
            module="django_q2",
            packages=("django-q2", "redis", *DJANGO),
            apps=("django_q",),
            records="PostgreSQL",
        ),
        Peer(
            name="django-q2-orm",
            module="django_q2",
            packages=("django-q2", "redis", *DJANGO),
            apps=("django_q",),
            records="PostgreSQL",
        ),
        Peer(
            name="django-tasks-db",
            module="django_tasks_db",
            packages=("django-tasks-db", "django-tasks", *DJANGO),
            apps=("django_tasks_db",),
            records="PostgreSQL",
        ),
        Peer(
            name="procrastinate",
            module="procrastinate",
            packages=("procrastinate[django]", *DJANGO),
            apps=("procrastinate.contrib.django",),
            records="PostgreSQL",
            runs_async=True,
        ),
        Peer(name="taskiq", module="taskiq", packages=("taskiq", "taskiq-redis", *DJANGO), runs_async=True),
    ]
}
