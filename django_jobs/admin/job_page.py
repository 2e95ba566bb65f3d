"""What the page of one job shows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import models
from django.db.models import F
from django.db.models.functions import Cast
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import states
from ..exceptions import NotDecodable
from ..models import DbNow, Job, database
from ..selection import Selection
from ..tasks.calls import call_text, known_task, masked, named_arguments, value_text
from ..tasks.sensitive import secrecy
from . import words
from .bug_report import bug_report
from .counts import capped_counts, in_words
from .job_acts import is_stopping
from .job_story import Step, Story, story_of, worker_name
from .labels import with_labels

TITLE_LENGTH = 300  # characters
LISTED = 100  # jobs linked to
NEWEST_JOBS = 10_000  # among which copies are looked for
LIVE_SECONDS = 2


def for_page(jobs: models.QuerySet) -> models.QuerySet:
    """Read with a job what its page shows besides, so that it takes few queries."""
    return with_labels(jobs.annotate(now=DbNow(), worker_name=worker_name(), schedule_name=F("schedule__name")))


class JobPage:
    """The parts of one job's page. ``address`` returns that of a page by its name and arguments."""

    def __init__(self, job: Job, address: Callable[..., str]):
        self.job, self.address = job, address
        self.now: datetime = job.now
        self.story: Story = story_of(job)

    def context(self) -> dict[str, Any]:
        """Return what the template needs besides the buttons."""
        job, now = self.job, self.now
        call = call_text(job, TITLE_LENGTH)
        return {
            "title": call,
            "subtitle": None,
            "original": call,  # what the breadcrumbs end in
            "job": job,
            "live": 0 if job.is_finished else LIVE_SECONDS,
            "state": words.badge(job.state, job.get_state_display()),
            "said": said(job),
            "cancel_requested": words.moment(job.cancel_requested_at, now) if is_stopping(job) else None,
            "steps": [self._created(), *self.story.steps(now)],
            "tries": self.story.tries[::-1],
            "earlier": self.story.earlier,
            "arguments": named_arguments(job),
            "facts": list(self._facts()),
            "progress": _progress(job),
            "results": list(_values(job)),
            "report": bug_report(job, self.story),
            "like_it": self._with_this_error(),
            "task_url": f"{self.address('changelist')}?{urlencode({'task': job.task_path, 'before': job.pk})}",
        }

    def _created(self) -> Step:
        return Step(
            title=_("Created"), when=words.moment(self.job.enqueued_at, self.now), details=tuple(self._origin())
        )

    def _origin(self) -> Iterator[Any]:
        job = self.job
        if job.created_by:
            yield gettext("by %(who)s") % {"who": job.created_by}
        if job.schedule_name is not None:
            address = self.address("schedule", job.schedule_id)
            yield format_html('{} <a href="{}">{}</a>', _("by the schedule"), address, job.schedule_name)
        for label, id in ((_("after the job"), job.parent), (_("a copy of"), job.copied_from)):
            if id:
                yield format_html('{} <a href="{}">{}</a>', label, self.address("change", id), id)

    def _with_this_error(self) -> tuple[str, str] | None:
        """Return how many jobs are failed with the error that this one ended with, and where to see them."""
        last = self.story.last
        if self.job.state != states.FAILED or not last or not last.attempt.fingerprint:
            return None
        fingerprint = last.attempt.fingerprint
        same = Selection(fingerprints=(fingerprint,)).narrow(Job.objects.using(database()))
        count = capped_counts({"same": same})["same"]
        link = f"{self.address('changelist')}?{urlencode({'error': fingerprint})}"
        return (in_words(count), link) if count > 1 else None

    def _facts(self) -> Iterator[tuple[Any, Any]]:
        job = self.job
        yield _("Task"), job.task_path if known_task(job.task_path) else _not_known(job.task_path)
        yield _("Queue, priority"), f"{job.queue_name}, {job.priority}"
        yield _("Attempts"), attempts_made(job)
        yield _("Time limit"), f"{job.timeout:g} s" if job.timeout else _("none")
        if job.expires_at:
            yield _("Expires"), words.exact(job.expires_at)
        if job.followed:
            yield _("Followed by"), self._links(Job.objects.filter(parent=job.pk))
        if job.is_finished and (copy := _newest_copy(job)):
            yield _("Run again as"), format_html('<a href="{}">{}</a>', self.address("change", copy), copy)
        if job.losses:
            yield (
                _("Workers lost"),
                gettext("%(losses)s (at most %(most)s)") % {"losses": job.losses, "most": job.max_losses},
            )
        if job.worker:
            yield _("Worker"), self.story.where
        if job.prune_at:
            yield _("Kept until"), words.exact(job.prune_at)
        if job.backend:
            yield _("Backend"), job.backend
        yield _("Id"), job.pk

    def _links(self, jobs: Any) -> SafeString:
        found = jobs.only("task_path", "state").order_by("pk")[:LISTED]
        links = ((self.address("change", one.pk), one.name, one.get_state_display()) for one in found)
        return format_html_join(", ", '<a href="{}">{}</a> {}', links)


def job_address(site: str) -> Callable[..., str]:
    """Return what makes addresses on an admin site: of pages of jobs by their names, and of a schedule."""

    def address(name: str, *args: Any) -> str:
        page = "schedule_change" if name == "schedule" else f"job_{name}"
        return reverse(f"{site}:django_jobs_{page}", args=args)

    return address


def said(job: Job) -> str:
    """Return the sentence that stands below a job."""
    if job.state == states.CANCELLED:
        return job.reason or job.last_error
    if job.state in (states.SUCCEEDED, states.RUNNING):
        return ""
    if job.state == states.SCHEDULED and job.run_after is None:
        return gettext("waits for the run before it to end")
    return job.last_error or job.reason


def attempts_made(job: Job) -> str:
    if not job.attempt:
        return words.NOTHING
    if job.max_attempts is None or job.attempt > job.max_attempts:
        return str(job.attempt)
    return gettext("%(made)s of %(most)s") % {"made": job.attempt, "most": job.max_attempts}


def moment_of(job: Job) -> datetime:
    """Return the moment that matters most in the job's state."""
    match job.state:
        case states.SCHEDULED | states.RETRYING:
            return job.run_after or job.enqueued_at
        case states.RUNNING:
            return job.started_at or job.claimed_at or job.enqueued_at
    return job.finished_at or job.enqueued_at


def _newest_copy(job: Job) -> UUID | None:
    """Return the newest copy of the job, looked for among the newest jobs; there is no index of copies."""
    newest = Job.objects.filter(pk__gt=job.pk).order_by("-pk")[:NEWEST_JOBS]
    as_text = Cast("pk", models.CharField(max_length=36))  # not every database knows the greatest UUID
    copy = newest.aggregate(copy=models.Max(as_text, filter=models.Q(copied_from=job.pk)))["copy"]
    return UUID(copy) if copy else None


def _not_known(task_path: str) -> SafeString:
    return words.two_lines(task_path, _("This process does not know it; a worker may."))


def _progress(job: Job) -> dict[str, Any] | None:
    """Return how far the body has come, as it said, when it said it in the form we know."""
    try:
        progress = job.progress
    except NotDecodable:
        return None
    if not isinstance(progress, dict) or not isinstance(progress.get("done"), int | float):
        return None
    total = progress.get("total")
    return progress | {"total": total if isinstance(total, int | float) and total > 0 else None}


def _values(job: Job) -> Iterator[tuple[Any, str]]:
    """Yield what else the job carries, for those who look closely."""
    is_secret = secrecy(known_task(job.task_path))
    for name, label in (("return_value", _("Result")), ("metadata", _("Metadata")), ("context", _("Context"))):
        try:
            value = getattr(job, name)
        except NotDecodable as error:
            yield label, str(error)
            continue
        if value not in (None, {}):
            yield label, value_text(masked(value, is_secret))
