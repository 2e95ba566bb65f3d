"""The command that runs a worker; ``runworker`` and ``jobs worker`` are both this."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import connections
from django.utils import autoreload

from .. import scheduler
from ..conf import QUEUE_NAME, jobs_settings
from ..exceptions import InvalidTask
from ..tasks.options import check_queue
from ..worker import JsonReporter, Options, Reporter, make_worker, problems, report_warnings, summary

RELOAD_SECONDS = 1.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--queues", type=queue_names, metavar="A,B", help="Queues to serve; by default QUEUES.")
    parser.add_argument(
        "--processes",
        type=whole(0),
        metavar="N",
        help="Children that run bodies; 0: everything in one process.",
    )
    parser.add_argument("--threads", type=whole(1), metavar="N", help="Bodies at a time in each child.")
    parser.add_argument("--burst", action="store_true", help="End when nothing is due; exit code 1 if a job failed.")
    parser.add_argument("--no-scheduler", action="store_true", help="Leave schedules and pruning to other workers.")
    parser.add_argument("--max-jobs", type=whole(1), metavar="N", help="Replace a child after so many jobs.")
    parser.add_argument("--max-memory", type=whole(1), metavar="MB", help="Replace a child that has grown so big.")
    parser.add_argument(
        "--reload",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="Start again when code changes; by default when DEBUG is on.",
    )
    parser.add_argument(
        "--grace",
        type=whole(0),
        metavar="SECONDS",
        help="How long a stop waits for running jobs; by default GRACE.",
    )
    parser.add_argument("--check", action="store_true", help="Connect to everything, say what is wrong, and end.")
    parser.add_argument("--json", action="store_true", help="Write one JSON object a line, for log collectors.")


def queue_names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    wrong = [name for name in names if not QUEUE_NAME.match(name)]
    if wrong or not names:
        raise argparse.ArgumentTypeError(f'"{text}" is not a list of queue names, such as "default,mail"')
    return names


def whole(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f'"{text}" is not a whole number of at least {least}')
        return int(text)

    return parse


def run(*, stdout: Any, **options: Any) -> None:
    """Run a worker by the command's options; ends with SystemExit."""
    chosen = worker_options(options)
    reporter = (JsonReporter if options["json"] else Reporter)(stdout)
    report_warnings(reporter)
    if options["check"]:
        sys.exit(check(chosen, reporter))
    for name, text in summary(chosen):
        reporter.say("summary", f"{name:>10}  {text}", name=name, text=text)
    worker = make_worker(
        options=chosen,
        reporter=reporter,
        make_duties=lambda: scheduler.duties(chosen.id, scheduler=chosen.scheduler),
        changed=code_changed() if chosen.reload else None,
    )
    connections.close_all()
    code = worker.run()
    if worker.reload:
        reporter.say("reloading", "the code has changed; starting again")
        os.execv(sys.executable, autoreload.get_child_arguments())
    sys.exit(code)


def worker_options(options: dict[str, Any]) -> Options:
    for name in options["queues"] or ():
        try:
            check_queue(name, jobs_settings.served_queues)
        except InvalidTask as error:
            raise CommandError(f"--queues: {error}", returncode=2) from None
    given = {
        name: options[name]
        for name in ("queues", "processes", "threads", "max_jobs", "max_memory", "grace", "reload")
        if options[name] is not None
    }
    return Options(
        burst=options["burst"],
        scheduler=not options["no_scheduler"],
        **{"reload": settings.DEBUG and not options["burst"], **given},
    )


def check(options: Options, reporter: Reporter) -> int:
    for name, text in summary(options):
        reporter.say("summary", f"{name:>10}  {text}", name=name, text=text)
    found = problems()
    for problem in found:
        reporter.say("problem", f"problem: {problem}", problem=problem)
    if not found:
        reporter.say("ok", "everything answers")
    return 2 if found else 0


def code_changed() -> Callable[[], bool]:
    """Return a function that says, at most once a second, whether a watched file has changed."""
    import time  # here: only for development

    reloader = autoreload.StatReloader()
    seen = dict(reloader.snapshot_files())
    looked_at = time.monotonic()

    def changed() -> bool:
        nonlocal looked_at
        if time.monotonic() < looked_at + RELOAD_SECONDS:
            return False
        looked_at = time.monotonic()
        return any(seen.get(path, moment) != moment for path, moment in reloader.snapshot_files())

    return changed
