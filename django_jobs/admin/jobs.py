"""Jobs in the admin: the list, the page of each, and what may be done there, put together from their modules."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import path
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from .. import states
from ..models import Job
from ..tasks.calls import call_text
from . import words
from .base import JobsModelAdmin, LookOnlyMixin, context_of, is_refresh
from .job_acts import JobActs, can_be_cancelled, can_be_retried
from .job_arguments import JobArguments, stored_call
from .job_filters import FILTERS
from .job_list import JobList
from .job_page import JobPage, attempts_made, for_page, job_address, moment_of, said
from .job_search import HELP, NotUnderstood, parsed
from .labels import about
from .run import RunTask

_KINDS = {states.FAILED: "bad", states.RETRYING: "warn"}  # the colour of the sentence below a job


@admin.register(Job)
class JobAdmin(RunTask, JobActs, JobArguments, LookOnlyMixin, JobsModelAdmin):
    list_display = ["call", "state_word", "queue_name", "attempts_made", "when"]
    list_filter = FILTERS
    list_per_page = 50
    ordering = ["-id"]
    sortable_by = []
    search_fields = ["id"]
    search_help_text = HELP

    class Media:
        js = ["django_jobs/live.js", "django_jobs/copy.js"]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.arguments_view)
        return [path("<path:object_id>/arguments/", view, name=self.url("arguments")), *super().get_urls()]

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        try:
            return parsed(search_term).narrow(queryset), False
        except NotUnderstood:
            return queryset.none(), False

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        response = super().changelist_view(request, extra_context)
        shown = context_of(response)
        if isinstance(shown.get("cl"), JobList) and shown["cl"].retry_label and self.may_change(request):
            shown["retry_url"] = self.page("retry_all") + shown["cl"].top_link
        if shown:
            shown["is_refresh"] = is_refresh(request)
            shown["run_url"] = self.page("add") if self.has_add_permission(request) else None
        return response

    @admin.display(description=_("job"))
    def call(self, job: Job) -> SafeString:
        return words.two_lines(call_text(job), said(job), _KINDS.get(job.state, "quiet"))

    @admin.display(description=_("state"))
    def state_word(self, job: Job) -> SafeString:
        return words.badge(job.state, job.get_state_display())

    @admin.display(description=_("attempts"))
    def attempts_made(self, job: Job) -> str:
        return attempts_made(job)

    @admin.display(description=_("when"))
    def when(self, job: Job) -> SafeString | str:
        return words.moment(moment_of(job), job.now)

    # One job

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        job = context_of(response).get("original")
        if isinstance(job, Job):
            page = JobPage(job, job_address(self.admin_site.name))
            buttons = self._buttons(request, job, has_attempts=bool(page.story.tries))
            context = page.context() | buttons | {"is_refresh": is_refresh(request)}
            context["facts"] = [*about(request, self.admin_site, job), *context["facts"]]
            response.context_data |= context
        return response

    def get_queryset(self, request: HttpRequest) -> models.QuerySet:
        jobs, match = super().get_queryset(request), request.resolver_match
        return for_page(jobs) if match and match.url_name == self.url("change") else jobs

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["id"]  # the page is drawn by its template

    def _buttons(self, request: HttpRequest, job: Job, *, has_attempts: bool) -> dict[str, Any]:
        """Return the addresses of what this user may do with the job as it is now."""
        may_act = self.may_change(request)
        has_form = job.is_finished and self.may_change_arguments(request, job) and stored_call(job) is not None
        return {
            "retry_url": self.page("retry", job.pk) if may_act and can_be_retried(job) else None,
            "again_url": self.page("again", job.pk) if may_act and job.is_finished else None,
            "arguments_url": self.page("arguments", job.pk) if has_form else None,
            "keeps_arguments": has_form and has_attempts and job.state == states.FAILED,
            "cancel_url": self.page("cancel", job.pk) if may_act and can_be_cancelled(job) else None,
            "delete_url": self.page("delete", job.pk) if self.has_delete_permission(request, job) else None,
            "history_url": self.page("history", job.pk),
        }
