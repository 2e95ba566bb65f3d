"""Retries all failed jobs of a selection: a thousand at once, more of them by a job of its own."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext, ngettext

from .. import bulk, enqueue, states
from ..models import Job
from ..selection import Selection
from .base import JobsModelAdmin
from .counts import capped_counts, in_words

AT_ONCE = bulk.CHUNK  # jobs retried while somebody waits for the answer


def retry_all(admin: JobsModelAdmin, request: HttpRequest, selection: Selection) -> None:
    """Retry the failed jobs of the selection, write it to the log, and tell what came of it."""
    failed = selection.failed().narrow(Job.objects.all())
    ids = list(failed.order_by().values_list("pk", flat=True)[: AT_ONCE + 1])
    if len(ids) > AT_ONCE:
        _hand_over(admin, request, selection, in_words(capped_counts({"failed": failed})["failed"]))
        return
    jobs = list(Job.objects.filter(pk__in=ids, state=states.FAILED).only("task_path"))
    count = enqueue.retry(Job.objects.filter(pk__in=[job.pk for job in jobs], state=states.FAILED))
    admin.log_act(request, jobs, gettext("Retried."))
    done = ngettext("%(count)s job was queued again.", "%(count)s jobs were queued again.", count)
    admin.say(request, count, done % {"count": count}, gettext("No job of these is failed any more."))


def _hand_over(admin: JobsModelAdmin, request: HttpRequest, selection: Selection, count: str) -> None:
    job = bulk.retry_later(selection, by=request.user.get_username())
    admin.log_act(request, [job], gettext("Enqueued, to retry %(count)s failed jobs.") % {"count": count})
    address = reverse(f"{admin.admin_site.name}:django_jobs_job_change", args=[job.pk])
    text = gettext("%(count)s jobs are retried in the background.") % {"count": count}
    link = format_html('{} <a href="{}">{}</a>', text, address, gettext("See how far it has come"))
    admin.message_user(request, link, messages.SUCCESS)
