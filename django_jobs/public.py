"""What a page may show of one job to whoever holds its address: signed tokens, and the state in words."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.urls import NoReverseMatch, reverse
from django.utils.translation import gettext

from . import states
from .exceptions import NotDecodable
from .models import Job

SALT = "django_jobs.public"
EXPIRES = 24 * 3600.0  # seconds
ANYBODY, NOBODY = None, ""  # to whom a pass is bound: to no user; to those who are not logged in


@dataclass(frozen=True, kw_only=True)
class Pass:
    """Lets its holder look at one job, for a time, and no further than it says."""

    job: UUID
    user: str | None = ANYBODY
    may_cancel: bool = False
    shows_result: bool = False

    def token(self, expires: float = EXPIRES) -> str:
        """Return the pass as text that is part of an address; it expires after so many seconds."""
        what = [self.job.hex, self.user, self.may_cancel, self.shows_result, round(time.time() + expires)]
        return signing.dumps(what, salt=SALT, compress=True)

    @classmethod
    def of(cls, token: str) -> Pass | None:
        """Return the pass that a token carries; None when it is not ours, or too old."""
        try:
            job, user, may_cancel, shows_result, until = signing.loads(token, salt=SALT)
        except (signing.BadSignature, ValueError):
            return None
        if time.time() >= until:
            return None
        return cls(job=UUID(job), user=user, may_cancel=may_cancel, shows_result=shows_result)

    def is_for(self, user: Any) -> bool:
        return self.user is ANYBODY or self.user == holder(user)


def holder(user: Any) -> str:
    """Return whom a pass for this user is bound to."""
    return str(user.pk) if getattr(user, "is_authenticated", False) else NOBODY


def address(name: str, token: str) -> str:
    """Return the address of the view of that name for the holder of the token."""
    try:
        return reverse(f"django_jobs:{name}", args=[token])
    except NoReverseMatch:
        raise ImproperlyConfigured(
            'Your URLconf has no addresses for jobs. Add path("jobs/", include("django_jobs.urls")) to it.'
        ) from None


def job_url(job: Job, *, user: Any = ANYBODY, result: bool = False, expires: float = EXPIRES) -> str:
    """Return an address at which one job's state can be read as JSON, for a page of yours.

    ``user``: only while this one is logged in. ``result``: with what the job returned. ``expires``: in seconds.
    """
    bound = ANYBODY if user is ANYBODY else holder(user)
    return address("job", Pass(job=job.pk, user=bound, shows_result=result).token(expires))


# The state, in words for visitors

COLUMNS = ("state", "progress", "cancel_requested_at")


def job_of(one: Pass) -> Any:
    """Return the QuerySet that reads what the holder of a pass may see."""
    return Job.objects.filter(pk=one.job).only(*COLUMNS, *(("return_value",) if one.shows_result else ()))


def shown(job: Job, one: Pass) -> dict[str, Any]:
    """Return what is shown of a job; it says nothing of errors, which may tell what visitors must not know."""
    progress = progress_of(job)
    percent = percentage(job, progress)
    found = {
        "state": job.state,
        "finished": job.is_finished,
        "done": progress.get("done"),
        "total": progress.get("total"),
        "percent": percent,
        "text": sentence(job, percent, progress.get("text") or ""),
        "may_cancel": one.may_cancel and not job.is_finished and job.cancel_requested_at is None,
    }
    return found | ({"result": readable(job, "return_value")} if one.shows_result else {})


def readable(job: Job, column: str) -> Any:
    """Return a value of the job, or None when it is damaged."""
    try:
        return getattr(job, column)
    except NotDecodable:
        return None


def progress_of(job: Job) -> dict[str, Any]:
    """Return how far the body has come, as it said; empty when it said nothing."""
    progress = readable(job, "progress")
    return progress if isinstance(progress, dict) and isinstance(progress.get("done"), int | float) else {}


def percentage(job: Job, progress: dict[str, Any]) -> int | None:
    """Return a number from 0 to 100, or None when it is not known."""
    if job.state == states.SUCCEEDED:
        return 100
    total = progress.get("total")
    if not isinstance(total, int | float) or total <= 0:
        return None
    return int(max(0.0, min(1.0, progress["done"] / total)) * 100)


def sentence(job: Job, percent: int | None, text: str) -> str:
    """Say in a few words how a job is, in the active language."""
    match job.state:
        case states.SUCCEEDED:
            return gettext("Done")
        case states.FAILED:
            return gettext("Failed")
        case states.CANCELLED:
            return gettext("Cancelled")
        case states.RETRYING:
            return gettext("Failed, and will be tried again")
        case states.SCHEDULED | states.QUEUED:
            return gettext("Waiting to start")
    if job.cancel_requested_at is not None:
        return gettext("Stopping")
    if percent is None:
        return text or gettext("Running")
    share = gettext("%(percent)s%%") % {"percent": percent}
    return f"{share} · {text}" if text else share
