"""What may be done to jobs: by buttons on the page of one, and by actions on many of the list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import enqueue, moves, states
from ..models import Job, database
from ..models.label import labels_of
from .counts import CAP
from .job_filters import is_selection, selection_of
from .job_search import NotUnderstood
from .retry_all import retry_all

CHUNK = 1000  # jobs moved by one statement
LISTED = 100  # rows named before a deletion


class JobActs:
    """For the ModelAdmin of jobs."""

    actions = ["retry_selected", "cancel_selected"]
    buttons = {"retry": "retry_one", "cancel": "cancel_one", "again": "run_again"}

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.retry_all_view)
        return [path("retry-all/", view, name=self.url("retry_all")), *super().get_urls()]

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    # One job

    def retry_one(self, request: HttpRequest, job: Job) -> None:
        count = enqueue.retry(job)
        self.log_act(request, [job] * count, gettext("Retried."))
        self.say(request, count, gettext("Queued again."), gettext("It is not finished, so there is nothing to retry."))

    def cancel_one(self, request: HttpRequest, job: Job) -> None:
        count = enqueue.cancel(job, reason=_by(request))
        self.log_act(request, [job] * count, gettext("Cancelled."))
        running = job.state == states.RUNNING
        done = gettext("Asked to stop; it does within about a second.") if running else gettext("Cancelled.")
        self.say(request, count, done, gettext("It is finished already, or was asked to stop before."))

    def run_again(self, request: HttpRequest, job: Job) -> HttpResponse:
        """Enqueue a copy, and go to its page."""
        new = copy_of(job, by=request.user.get_username())
        enqueue.save([new])
        return self.show_copy(request, job, new)

    def show_copy(self, request: HttpRequest, job: Job, new: Job) -> HttpResponse:
        self.log_act(request, [job], gettext("Run again as %(job)s.") % {"job": new.pk})
        self.say(request, 1, gettext("This is the copy; it is enqueued."), "")
        return HttpResponseRedirect(self.page("change", new.pk))

    # Many

    def retry_all_view(self, request: HttpRequest) -> HttpResponse:
        """Retry the failed ones of those jobs that a list with the same address shows."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may_change(request):
            raise PermissionDenied
        try:
            if not is_selection(request.GET):  # the list would show less than what is retried
                raise NotUnderstood(gettext("Not all filters of this list can be applied to a retry."))
            retry_all(self, request, selection_of(request.GET))
        except NotUnderstood as error:
            self.say(request, 0, "", str(error))
        asked = request.GET.urlencode()
        return HttpResponseRedirect(self.page("changelist") + (f"?{asked}" if asked else ""))

    @admin.action(description=_("Retry the selected jobs"), permissions=["retry"])
    def retry_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        count = 0
        for jobs in _chunks(queryset.filter(state__in=states.FINAL)):
            count += enqueue.retry([job.pk for job in jobs])
            self.log_act(request, jobs, gettext("Retried."))
        done = ngettext("%(count)s job was queued again.", "%(count)s jobs were queued again.", count)
        self.say(request, count, done % {"count": count}, gettext("None of these jobs is finished: nothing to retry."))

    @admin.action(description=_("Cancel the selected jobs"), permissions=["cancel"])
    def cancel_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        count = 0
        for jobs in _chunks(queryset.exclude(state__in=states.FINAL)):
            count += enqueue.cancel([job.pk for job in jobs], reason=_by(request))
            self.log_act(request, jobs, gettext("Cancelled."))
        done = ngettext("%(count)s job was cancelled.", "%(count)s jobs were cancelled.", count)
        self.say(request, count, done % {"count": count}, gettext("All of these jobs are finished already."))

    # Deleting: a running job must be cancelled first, lest its work goes on without a trace.

    def has_delete_permission(self, request: HttpRequest, obj: Job | None = None) -> bool:
        is_running = obj is not None and obj.state == states.RUNNING
        return super().has_delete_permission(request, obj) and not is_running

    def get_deleted_objects(self, objs: Iterable[Job], request: HttpRequest) -> tuple[list, dict, set, list]:
        keys = [job.pk for job in objs]
        jobs = Job.objects.filter(pk__in=keys).only("task_path")
        named = [str(job) for job in jobs.order_by("-pk")[:LISTED]]
        if len(keys) > LISTED:
            named.append(gettext("and %(count)s more") % {"count": len(keys) - LISTED})
        running = [_cancel_first(job) for job in jobs.filter(state=states.RUNNING)[:LISTED]]
        return named, {self.opts.verbose_name_plural: len(keys)}, set(), running

    def response_action(
        self, request: HttpRequest, queryset: models.QuerySet, **options: Any
    ) -> HttpResponse | None:  # options: Django 6.1 says on which page the action was chosen
        """Act on no more jobs than the list has counted where all are chosen, and read of each what it is called."""
        if request.POST.get("select_across") == "1":
            keys = list(queryset.order_by("-pk").values_list("pk", flat=True)[:CAP])
            queryset = Job.objects.filter(pk__in=keys).only("task_path", "state")
        return super().response_action(request, queryset, **options)

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        self.delete_queryset(request, Job.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        alias = database()
        for jobs in _chunks(queryset):
            with transaction.atomic(using=alias):
                still = Job.objects.using(alias).filter(pk__in=[job.pk for job in jobs])
                ids = list(still.exclude(state=states.RUNNING).select_for_update().values_list("pk", flat=True))
                moves.erase(alias, ids)


def copy_of(job: Job, *, by: str, **columns: Any) -> Job:
    """Return a new job with the same call, options and labels, to be started at once."""
    same = ("task_path", "args", "kwargs", "metadata", "context", "queue_name", "priority", "timeout", "backend")
    kept = {name: job.__dict__[name] for name in (*same, "max_attempts", "max_losses")}  # as they are stored
    by = by[: Job._meta.get_field("created_by").max_length]
    new = Job.new(**kept | columns, state=states.QUEUED, copied_from=job.pk, created_by=by)
    new.new_labels = labels_of(job)
    return new


def can_be_cancelled(job: Job) -> bool:
    return not job.is_finished and not is_stopping(job)


def can_be_retried(job: Job) -> bool:
    return job.is_finished and job.reason != moves.ABANDONED


def is_stopping(job: Job) -> bool:
    return job.state == states.RUNNING and job.cancel_requested_at is not None


def _chunks(jobs: models.QuerySet) -> Iterator[list[Job]]:
    """Yield the jobs as they are now in handfuls, at most CAP of them."""
    found = list(Job.objects.filter(pk__in=jobs.order_by().values("pk")).only("pk", "task_path", "state")[:CAP])
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]


def _cancel_first(job: Job) -> str:
    return gettext("%(job)s is running: cancel it first.") % {"job": job}


def _by(request: HttpRequest) -> str:
    return gettext("cancelled by %(user)s") % {"user": request.user.get_username()}
