"""Named places at which a test can make a process crash, pause or raise.

They do nothing unless the environment variable DJANGO_JOBS_FAILPOINT is set when the process starts, and
the settings say ``DJANGO_JOBS_ALLOW_FAILPOINTS = True``. The variable holds rules joined by commas::

    after_claim=crash            kill this process
    before_push=pause:2.5        sleep so many seconds
    before_push=stop             stop this process, until somebody sends it SIGCONT
    after_body=raise             raise Failpoint
    after_claim=crash!/tmp/x     only the first process that can make the file /tmp/x
"""

from __future__ import annotations

import os
import signal
import time

from .exceptions import JobsError

NAMES = (
    "after_insert",  # the row is written, its transaction still open
    "before_push",  # committed, not pushed yet
    "after_push",
    "after_take",  # ids are taken, nothing is claimed
    "after_claim",  # claimed, nothing is started
    "before_body",  # marked as started
    "atomic_before_commit",  # an atomic body has returned, its outcome is written, its transaction still open
    "atomic_after_commit",
    "after_body",  # marked as finished, nothing is recorded
    "before_record",
    "before_follow",  # outcomes are written, and not yet committed, nor is what follows
    "after_record",  # outcomes are committed
    "schedules_computed",  # what is due is decided on, nothing is written
    "chore_fire",
    "chore_follow",
    "chore_promote",
    "chore_rescue",
    "chore_reconcile",
    "chore_expire",
    "chore_settle",
    "chore_prune",
    "chore_tidy",
)
VARIABLE = "DJANGO_JOBS_FAILPOINT"


class Failpoint(JobsError):
    """Raised at a failpoint; never without DJANGO_JOBS_FAILPOINT."""


def _hit(name: str) -> None:
    from django.conf import settings  # here: only in tests

    if not getattr(settings, "DJANGO_JOBS_ALLOW_FAILPOINTS", False):
        return
    for rule in os.environ[VARIABLE].split(","):
        where, _, what = rule.partition("=")
        action, _, once = what.partition("!")
        if where == name and (not once or _is_first(once)):
            _act(action)


def _act(action: str) -> None:
    verb, _, argument = action.partition(":")
    match verb:
        case "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "pause":
            time.sleep(float(argument))
        case "raise":
            raise Failpoint("raised by a failpoint")
        case _:
            raise ValueError(f'{VARIABLE}: "{action}" is none of crash, stop, pause:SECONDS and raise')


def _is_first(path: str) -> bool:
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def _nothing(name: str) -> None:
    """Cost next to nothing."""


hit = _hit if os.environ.get(VARIABLE) else _nothing
