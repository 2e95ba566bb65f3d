"""The filters of the job list: what stands in its address becomes one selection of jobs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from ..models import Queue
from ..models.job import STATE_LABELS
from ..selection import Selection
from ..tasks import registry
from .job_search import parsed
from .labels import ABOUT, in_words

MORE = "more"  # than one attempt
SEARCH = "q"


class SelectionFilter(admin.SimpleListFilter):
    """A filter that is drawn here; the list narrows itself by its selection, which has the values of all of them."""

    @staticmethod
    def selection(value: str) -> Selection:
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        return queryset


class UnseenFilter(SelectionFilter):
    """Drawn as tabs above the list or not at all, not in the bar beside it."""

    template = "admin/django_jobs/job/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        value = request.GET.get(self.parameter_name)
        return [(value, value)] if value else []


class StateFilter(UnseenFilter):
    title = _("state")
    parameter_name = "state"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return STATE_LABELS

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(states=(value,))


class TriesFilter(UnseenFilter):
    title = _("attempts")
    parameter_name = "tries"

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(tried_again=value == MORE)


class ErrorFilter(UnseenFilter):
    """The overview and the page of a job link to all that failed with one error."""

    title = _("error")
    parameter_name = "error"

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(fingerprints=(value,))


class AboutFilter(SelectionFilter):
    """Stands beside the list only while it is on: the panel of an object, and the page of a job, lead to it."""

    title = _("object")
    parameter_name = ABOUT

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        label = request.GET.get(ABOUT)
        return [(label, in_words(label))] if label else []

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(labels=(value,))


class QueueFilter(SelectionFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in Queue.objects.order_by("name").values_list("name", flat=True)]

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(queues=(value,))


class TaskFilter(SelectionFilter):
    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        names = Counter(task.name for task in registry.all_tasks().values())
        return [(path, task.name if names[task.name] == 1 else path) for path, task in registry.all_tasks().items()]

    @staticmethod
    def selection(value: str) -> Selection:
        return Selection(tasks=((value,),))


FILTERS = [AboutFilter, StateFilter, TriesFilter, QueueFilter, TaskFilter, ErrorFilter]


def is_selection(params: Mapping[str, str]) -> bool:
    """Say whether ``selection_of`` knows all that narrows a list with these parameters."""
    return set(params) <= {SEARCH, *(one.parameter_name for one in FILTERS)}


def selection_of(params: Mapping[str, str]) -> Selection:
    """Return what a list with these parameters shows; raise NotUnderstood for a search that is none."""
    found = parsed(params.get(SEARCH, "").replace("\0", ""))
    for one in FILTERS:
        found &= _without_nul(one.selection, params.get(one.parameter_name))
    return found


def _without_nul(selection: Any, value: str | None) -> Selection:
    """Return the selection of a value, of which no database takes a NUL."""
    return selection(value.replace("\0", "")) if value else Selection()
