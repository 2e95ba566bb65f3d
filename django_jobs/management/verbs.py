"""The verbs of ``manage.py jobs``: each takes the parsed options and returns what there is to tell, as a dict."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Any

from django.core.management.base import CommandError
from django.db import connections
from django.db.models import QuerySet

from .. import broker, enqueue, states
from ..broker import AWAY
from ..conf import QUEUE_NAME, jobs_settings
from ..exceptions import InvalidTask
from ..health import problems as health_problems
from ..models import Job, Queue, Worker, database, db_now
from ..scheduler import epoch, pauses
from ..scheduler.prune import prune, tidy
from ..scheduler.rescue import present
from ..tasks import registry
from ..tasks.options import check_queue
from .health import explanation
from .schedule_verbs import schedules

CHUNK = 1000  # jobs of one transaction
MOST_COUNTED = 10_000  # of each state: a COUNT over millions of rows would take minutes

Options = dict[str, Any]


def status(options: Options) -> dict[str, Any]:
    """Tell how many jobs there are in each state, and who works."""
    counts = {state: counted(Job.objects.filter(state=state)) for state in states.STATES}
    paused = Queue.objects.filter(paused_at__isnull=False).values_list("name", flat=True)
    now = db_now()
    workers = [
        {"worker": str(worker), "queues": worker.queues, "alive": worker.alive_until > now}
        for worker in Worker.objects.filter(present()).order_by("started_at")
    ]
    return {**counts, "paused": sorted(paused), "workers": workers}


def retry(options: Options) -> dict[str, Any]:
    """Queue finished jobs again, failed ones unless ids are given."""
    return in_chunks(options, [states.FAILED], states.FINAL, enqueue.retry)


def cancel(options: Options) -> dict[str, Any]:
    """Cancel waiting and running jobs."""
    sources = [*states.WAITING, states.RUNNING]
    return in_chunks(options, sources, sources, enqueue.cancel)


def prune_finished(options: Options) -> dict[str, Any]:
    """Delete finished jobs whose time to be kept is over."""
    return {"deleted": prune(), "tidied": tidy()}


def pause(options: Options) -> dict[str, Any]:
    """Let no worker start jobs of the queues named."""
    for name in options["queues"]:
        if not QUEUE_NAME.match(name):
            raise CommandError(f'"{name}" cannot be the name of a queue.', returncode=2)
        try:
            check_queue(name, jobs_settings.served_queues)
        except InvalidTask as error:
            raise CommandError(str(error), returncode=2) from None
    enqueue.ensure_queues(connections[database()], set(options["queues"]))
    return {"paused": pauses.pause(options["queues"], by=getpass.getuser(), reason=options["reason"])}


def resume(options: Options) -> dict[str, Any]:
    """Let workers start jobs of the queues named again."""
    return {"resumed": pauses.resume(options["queues"])}


def rebuild(options: Options) -> dict[str, Any]:
    """Empty our keys in Redis; the workers fill them from the rows, within seconds."""
    if not broker.is_used():
        raise CommandError("CACHE is None: there is no Redis to be filled.", returncode=2)
    epoch.change()  # in the database first: whoever looks at Redis now sees that it is out of date
    try:
        broker.for_worker().clear()
    except AWAY as error:
        raise CommandError(f"Redis at {broker.address_of_jobs()} does not answer: {error}", returncode=3) from None
    return {"rebuilding": True}


def health(options: Options) -> dict[str, Any]:
    """Say whether work that is due is being done; exit code 1 when not."""
    found = list(map(str, health_problems()))
    return {"healthy": not found, "problems": found}


def explain(options: Options) -> dict[str, Any]:
    """Say why a job is not running."""
    return explanation(options["id"])


VERBS: dict[str, Callable[[Options], dict[str, Any]]] = {
    "status": status,
    "retry": retry,
    "cancel": cancel,
    "prune": prune_finished,
    "pause": pause,
    "resume": resume,
    "rebuild": rebuild,
    "schedules": schedules,
    "health": health,
    "explain": explain,
}


def counted(jobs: QuerySet) -> str | int:
    """Return how many rows, as far as it is worth counting."""
    count = jobs.order_by()[: MOST_COUNTED + 1].count()
    return count if count <= MOST_COUNTED else f"more than {MOST_COUNTED}"


def in_chunks(
    options: Options, usual: list[str], possible: tuple[str, ...] | list[str], act: Callable[[QuerySet], int]
) -> dict[str, Any]:
    """Do something to all jobs that the options choose, a thousand at a time."""
    chosen = choose(options, usual, possible)
    if options["dry_run"]:
        return {"would_change": counted(chosen)}
    return {"changed": sum(act(Job.objects.filter(pk__in=ids)) for ids in pages(chosen))}


def choose(options: Options, usual: list[str], possible: tuple[str, ...] | list[str]) -> QuerySet:
    """Return the jobs that ids or filters name; without either it is a mistake."""
    filters = {
        "pk__in": options["ids"],
        "task_path": options["task"],
        "queue_name": options["queue"],
        "enqueued_at__lt": options["before"],
    }
    given = {name: value for name, value in filters.items() if value}
    if options["task"]:
        check_task(options["task"])
    if not given and not options["all"]:
        raise CommandError("Name jobs by their ids, or by --task, --queue or --before, or say --all.", returncode=2)
    return Job.objects.filter(state__in=possible if options["ids"] else usual, **given)


def check_task(path: str) -> None:
    """Refuse the path of a task that is not known here and has no job either: most likely it is misspelt."""
    if path in registry.all_tasks() or Job.objects.filter(task_path=path)[:1]:
        return
    named = [known for known in registry.all_tasks() if known.endswith(f".{path}")]
    near = named or get_close_matches(path, registry.all_tasks(), n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise CommandError(f"--task: no task {path} is known, and no job of it.{hint}", returncode=2)


def pages(jobs: QuerySet) -> Iterator[list[Any]]:
    """Yield the ids, a chunk at a time, each read when the one before has been dealt with."""
    last = None
    while True:
        following = jobs.filter(pk__gt=last) if last else jobs
        ids = list(following.order_by("pk").values_list("pk", flat=True)[:CHUNK])
        if not ids:
            return
        yield ids
        last = ids[-1]
