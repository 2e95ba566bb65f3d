"""What the admin pages of all our models have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.admin.utils import unquote
from django.contrib.auth import get_permission_codename
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.text import capfirst

from ..models import database


class JobsModelAdmin(admin.ModelAdmin):
    """Acts by buttons and actions, each with its permission, a log entry and a message."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    buttons: dict[str, str] = {}  # the last part of a URL -> the method that a POST to it calls

    class Media:
        css = {"all": ["django_jobs/admin.css"]}

    def get_urls(self) -> list[Any]:
        ours = [
            path(f"<path:object_id>/{name}/", self.admin_site.admin_view(self._button(method)), name=self.url(name))
            for name, method in self.buttons.items()
        ]
        return ours + super().get_urls()

    def url(self, name: str) -> str:
        """Return the name of a page's URL."""
        return f"{self.opts.app_label}_{self.opts.model_name}_{name}"

    def page(self, name: str, *args: Any) -> str:
        """Return the address of one of this model's pages."""
        return reverse(f"{self.admin_site.name}:{self.url(name)}", args=args)

    def may_change(self, request: HttpRequest) -> bool:
        """Say whether the user has the permission to change such rows, by buttons where there is no form."""
        codename = get_permission_codename("change", self.opts)
        return request.user.has_perm(f"{self.opts.app_label}.{codename}")

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        title = {"title": capfirst(self.opts.verbose_name_plural)}  # not "Select job to view"
        return super().changelist_view(request, title | (extra_context or {}))

    def _button(self, method: str) -> Callable[[HttpRequest, str], HttpResponse]:
        def view(request: HttpRequest, object_id: str) -> HttpResponse:
            if request.method != "POST":
                return HttpResponseNotAllowed(["POST"])
            if not self.may_change(request):
                raise PermissionDenied
            thing = self.get_object(request, unquote(object_id))
            if thing is None:
                return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
            answer = getattr(self, method)(request, thing)
            return answer or HttpResponseRedirect(self._back(request, object_id))

        return view

    def _back(self, request: HttpRequest, object_id: str) -> str:
        """Return the page from which a button was pressed: the overview, or the thing's own."""
        if request.POST.get("from") == "overview":
            return reverse(f"{self.admin_site.name}:django_jobs_overview_changelist")
        return self.page("change", object_id)

    def log_act(self, request: HttpRequest, things: list[models.Model], message: str) -> None:
        """Write a log entry for each of the rows."""
        if things:
            LogEntry.objects.log_actions(
                user_id=request.user.pk, queryset=things, action_flag=CHANGE, change_message=message
            )

    def say(self, request: HttpRequest, count: int, done: str, nothing: str) -> None:
        """Tell what came of an act."""
        self.message_user(request, done if count else nothing, messages.SUCCESS if count else messages.WARNING)

    # Deletion on our own database, whatever the routers say of this request.

    def delete_model(self, request: HttpRequest, obj: models.Model) -> None:
        obj.delete(using=database())

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        queryset.using(database()).delete()


def context_of(response: HttpResponse) -> dict[str, Any]:
    """Return what the response's template will be given; nothing for a redirection."""
    return getattr(response, "context_data", None) or {}


def is_refresh(request: HttpRequest) -> bool:
    """Say whether a page asks for itself to stay up to date: messages are for whoever loads it."""
    return "X-Dj-Live" in request.headers


class LookOnlyMixin:
    """Nothing is added or edited by hand; what may be done has a button."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
