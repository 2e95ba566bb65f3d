"""JobsPanel: the newest jobs about an object, below its form in the admin of your own models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.admin.options import IS_POPUP_VAR
from django.contrib.admin.utils import quote, unquote
from django.core.exceptions import ImproperlyConfigured, PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.safestring import SafeString

from ..exceptions import InvalidTask
from ..models import Job, JobLabel
from ..models.label import label_of, newest_labelled
from .counts import capped_counts, in_words
from .jobs import JobAdmin
from .labels import jobs_page
from .light import light, with_arguments

SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Row:
    """One job of the panel."""

    call: SafeString
    state: SafeString
    when: SafeString | str
    link: str


@dataclass(frozen=True, kw_only=True)
class Panel:
    """The newest jobs about one object."""

    rows: list[Row]
    count: str  # of all of them; empty when these are all
    name: str  # of the kind of object
    all_link: str
    live_link: str


class JobsPanel:
    """Shows the jobs about an object below its form, to those who may view jobs.

    It stands before the class that it extends: ``class OrderAdmin(JobsPanel, admin.ModelAdmin)``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        order = cls.__mro__
        if admin.ModelAdmin in order and order.index(admin.ModelAdmin) < order.index(JobsPanel):
            raise ImproperlyConfigured(f"Write JobsPanel first: class {cls.__name__}(JobsPanel, admin.ModelAdmin).")

    @property
    def media(self) -> forms.Media:
        return super().media + forms.Media(css={"all": ["django_jobs/admin.css"]}, js=["django_jobs/live.js"])

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.jobs_about_view)
        return [path("<path:object_id>/jobs-about/", view, name=self._jobs_about_name), *super().get_urls()]

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **options: Any
    ) -> HttpResponse:
        response = super().render_change_form(request, context, *args, **options)
        obj = context.get("original")  # None: one is being added
        is_page = isinstance(response, TemplateResponse) and not response.is_rendered
        if not is_page or not isinstance(obj, self.model) or IS_POPUP_VAR in request.GET:
            return response
        panel = self._panel(request, obj)
        if panel is not None:
            # Whatever template it would have been, our block goes around it.
            parent = response.resolve_template(response.template_name)
            response.context_data = {**(response.context_data or {}), "dj_panel": panel, "dj_form": parent}
            response.template_name = "admin/django_jobs/panel/change_form.html"
        return response

    def jobs_about_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the panel alone, for our script."""
        obj = self.get_object(request, unquote(object_id))
        if obj is None:
            raise Http404
        panel = self._panel(request, obj) if self.has_view_or_change_permission(request, obj) else None
        if panel is None:
            raise PermissionDenied
        return TemplateResponse(request, "admin/django_jobs/panel/panel.html", {"dj_panel": panel})

    @property
    def _jobs_about_name(self) -> str:
        return f"{self.opts.app_label}_{self.opts.model_name}_jobs_about"

    def _panel(self, request: HttpRequest, obj: models.Model) -> Panel | None:
        """Return what is shown of the object's jobs; None to those who may not view jobs."""
        if not (request.user.has_perm("django_jobs.view_job") or request.user.has_perm("django_jobs.change_job")):
            return None
        try:
            label = label_of(obj, "JobsPanel")
        except InvalidTask:  # its key is too long for a label: no job can be about it
            return None
        newest, pages = with_arguments(light(newest_labelled(label, SHOWN))), JobAdmin(Job, self.admin_site)
        every = JobLabel.objects.filter(label=label)
        live = reverse(f"{self.admin_site.name}:{self._jobs_about_name}", args=[quote(obj.pk)])
        return Panel(
            rows=[_row(pages, job) for job in newest],
            count=in_words(capped_counts({label: every})[label]) if len(newest) == SHOWN else "",
            name=str(self.opts.verbose_name),
            all_link=jobs_page(self.admin_site, label),
            live_link=live,
        )


def _row(pages: JobAdmin, job: Job) -> Row:
    has_page = pages.admin_site.is_registered(Job)
    return Row(
        call=pages.call(job),
        state=pages.state_word(job),
        when=pages.when(job),
        link=pages.page("change", job.pk) if has_page else "",
    )
