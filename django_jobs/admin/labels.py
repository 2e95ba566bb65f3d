"""From jobs to the objects that they are about, and back to all jobs of one object."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.utils import quote
from django.db import models
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from ..models import Job, JobLabel

ABOUT = "about"  # the parameter of the list of jobs
SHOWN = 5  # labels of one job


def jobs_page(site: admin.AdminSite, label: str) -> str:
    """Return the address of the list of the jobs with a label; empty on a site that does not show jobs."""
    if not site.is_registered(Job):
        return ""
    return f"{reverse(f'{site.name}:django_jobs_job_changelist')}?{urlencode({ABOUT: label})}"


def with_labels(jobs: models.QuerySet) -> models.QuerySet:
    """Read with each job the labels that its page shows, by the same query."""
    labels = JobLabel.objects.filter(job=OuterRef("pk")).order_by("label").values("label")
    return jobs.annotate(**{f"label_{place}": Subquery(labels[place : place + 1]) for place in range(SHOWN)})


def about(request: HttpRequest, site: admin.AdminSite, job: Job) -> Iterator[tuple[Any, SafeString]]:
    """Yield what the page of a job says of the objects that it is about; nothing for a job without labels.

    The job was read by ``with_labels``.
    """
    labels = [label for place in range(SHOWN) if (label := getattr(job, f"label_{place}"))]
    if labels:
        yield _("About"), format_html_join(", ", "{}", ((_linked(request, site, label),) for label in labels))


def _linked(request: HttpRequest, site: admin.AdminSite, label: str) -> SafeString:
    """Return a label with links to its object, for those who may see it, and to all jobs that have it."""
    page, text = object_page(request, site, label), in_words(label)
    shown = format_html('<a href="{}">{}</a>', page, text) if page else text
    return format_html('{} (<a href="{}">{}</a>)', shown, jobs_page(site, label), _("all its jobs"))


def in_words(label: str) -> str:
    """Return what a label means, such as "order 17"; one that is of no object as it is."""
    model, key = _taken_apart(label)
    return f"{model._meta.verbose_name} {key}" if model else label


def object_page(request: HttpRequest, site: admin.AdminSite, label: str) -> str:
    """Return the address of the labelled object's own page; empty without one that the user may see."""
    model, key = _taken_apart(label)
    for shown, model_admin in site._registry.items():
        if model and shown._meta.concrete_model is model and model_admin.has_view_permission(request):
            name = f"{site.name}:{shown._meta.app_label}_{shown._meta.model_name}_change"
            try:
                return reverse(name, args=[quote(key)])
            except NoReverseMatch:  # its ModelAdmin has addresses of its own
                continue
    return ""


def _taken_apart(label: str) -> tuple[type[models.Model] | None, str]:
    """Return the model and the key that a label holds."""
    name, _colon, key = label.partition(":")
    try:
        return (apps.get_model(name), key) if key else (None, "")
    except (LookupError, ValueError):
        return None, ""
