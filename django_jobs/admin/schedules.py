"""Schedules in the admin: when they run in words, what is due next, and a form that cannot crash."""

from __future__ import annotations

import zoneinfo
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..conf import jobs_settings
from ..exceptions import JobsError
from ..models import DbNow, Job, Queue, Schedule, database, db_now
from ..scheduler.fire import run_now
from ..scheduler.words import sentence
from ..tasks.calls import call_text, named_arguments
from . import words
from .base import JobsModelAdmin, context_of
from .schedule_form import ScheduleForm, may_run

LATE = timedelta(seconds=30)  # a healthy worker is late by a second
NEXT = 5  # moments shown
DELETED = 100  # schedules named before a deletion

WHEN = ["cron", "every", "once_at", "timezone", "starts_at", "ends_at"]


class ScheduleList(ChangeList):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        return super().get_queryset(request, exclude_parameters).annotate(now=DbNow())


@admin.register(Schedule)
class ScheduleAdmin(JobsModelAdmin):
    form = ScheduleForm
    list_display = ["what", "runs", "next_run", "is_on", "last_run"]
    list_filter = ["enabled"]
    list_per_page = 100
    ordering = ["name"]
    sortable_by = []
    search_fields = ["name", "task_path"]
    actions = ["run_selected", "enable_selected", "disable_selected"]
    buttons = {"run": "run_one"}

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleList

    @admin.display(description=_("schedule"))
    def what(self, schedule: Schedule) -> SafeString:
        return words.two_lines(schedule.name, call_text(schedule))

    @admin.display(description=_("runs"))
    def runs(self, schedule: Schedule) -> SafeString:
        return words.two_lines(sentence(schedule), schedule.cron)

    @admin.display(description=_("next run"))
    def next_run(self, schedule: Schedule) -> SafeString:
        if not schedule.enabled:
            return words.two_lines(words.NOTHING, schedule.note, "warn")
        return words.labelled(_("next run"), due(schedule.next_due_at, schedule.now))

    @admin.display(description=_("state"))
    def is_on(self, schedule: Schedule) -> SafeString:
        return words.badge("on", _("on")) if schedule.enabled else words.badge("off", _("off"))

    @admin.display(description=_("last run"))
    def last_run(self, schedule: Schedule) -> SafeString:
        if schedule.last_run_at is None:
            return words.labelled(_("last run"), _("never"))
        jobs = f"{reverse(f'{self.admin_site.name}:django_jobs_job_changelist')}?schedule__id__exact={schedule.pk}"
        link = format_html('<a href="{}">{}</a>', jobs, words.moment(schedule.last_run_at, schedule.now))
        return words.labelled(_("last run"), link)

    # One schedule

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.user = request.user  # the class is made anew for each request
        return form

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        shown = ["args", "kwargs"]
        if obj is not None and not self.has_change_permission(request, obj):
            shown = ["arguments"]  # as they may be shown: a form would hide secrets by itself
        return [
            (None, {"fields": ["name", "enabled", "task_path", *shown]}),
            (_("When"), {"fields": WHEN, "description": _("Set one: an expression, an interval, or one moment.")}),
            (_("How"), {"fields": ["queue_name", "priority"]}),
        ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        can_change = obj is None or self.has_change_permission(request, obj)
        return [] if can_change else ["arguments"]

    @admin.display(description=_("arguments"))
    def arguments(self, schedule: Schedule) -> str:
        return ", ".join(f"{name}={value}" for name, value in named_arguments(schedule)) or words.NOTHING

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict | None = None,
    ) -> HttpResponse:
        response = super().changeform_view(request, object_id, form_url, extra_context)
        if "adminform" in context_of(response):
            response.context_data |= self._page(request, response.context_data.get("original"))
        return response

    def _page(self, request: HttpRequest, schedule: Schedule | None) -> dict[str, Any]:
        page: dict[str, Any] = {"zones": _zones(), "queues": _queues()}
        if schedule is None:
            return page
        stored = Schedule.objects.get(pk=schedule.pk)  # the form may have changed the other one
        now = db_now()
        return page | {
            "subtitle": stored.name,
            "sentence": sentence(stored),
            "stored": stored,
            "coming": [(_in_zone(stored, one), words.ago(one, now)) for one in coming(stored, now)],
            "last_run": words.moment(stored.last_run_at, now),
            "history_url": self.page("history", stored.pk),
            "run_url": self.page("run", stored.pk) if self._may_run(request, stored) else None,
        }

    # Permissions: who may run what is also who may schedule it.

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        # the task as it is stored: the form may have put another one on the object
        return super().has_change_permission(request, obj) and (obj is None or may_run(request.user, _stored_task(obj)))

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    def _may_run(self, request: HttpRequest, schedule: Schedule) -> bool:
        return self.may_change(request) and may_run(request.user, schedule.task_path)

    # Acts

    def run_one(self, request: HttpRequest, schedule: Schedule) -> HttpResponse:
        job = self._run(request, schedule)
        if job is None:
            return HttpResponseRedirect(self.page("change", schedule.pk))
        messages.success(request, gettext("This is the job, made just now."))
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:django_jobs_job_change", args=[job.pk]))

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        count = sum(self._run(request, schedule) is not None for schedule in queryset)
        done = ngettext("%(count)s job was made.", "%(count)s jobs were made.", count) % {"count": count}
        if count:
            messages.success(request, done)

    def _run(self, request: HttpRequest, schedule: Schedule) -> Job | None:
        """Make a job of the schedule; when that cannot be, say why."""
        try:
            if not self._may_run(request, schedule):
                raise PermissionError(gettext("You may not run this task."))
            job = run_now(schedule, by=request.user.get_username())
        except (JobsError, TypeError, PermissionError) as error:
            messages.error(request, f"{schedule.name}: {error}")
            return None
        self.log_act(request, [schedule], gettext("Run now."))
        return job

    @admin.action(description=_("Enable"), permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._set_enabled(request, queryset, True)

    @admin.action(description=_("Disable"), permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._set_enabled(request, queryset, False)

    def _set_enabled(self, request: HttpRequest, queryset: models.QuerySet, enabled: bool) -> None:
        changed = []
        for schedule in queryset.filter(enabled=not enabled):
            if not self._may_run(request, schedule):
                messages.error(request, f"{schedule.name}: {gettext('You may not schedule this task.')}")
                continue
            try:
                _switch(schedule, enabled)
            except ValueError as error:
                messages.error(request, f"{schedule.name}: {error}")
            else:
                changed.append(schedule)
        self.log_act(request, changed, gettext("Enabled.") if enabled else gettext("Disabled."))
        done = ngettext("%(count)s schedule was changed.", "%(count)s schedules were changed.", len(changed))
        if changed:
            messages.success(request, done % {"count": len(changed)})

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        """Name the schedules only: their runs may be thousands, and their jobs stay."""
        named = [str(schedule) for schedule, _place in zip(objs, range(DELETED), strict=False)]
        return named, {self.opts.verbose_name_plural: len(objs)}, set(), []


def due(when: datetime | None, now: datetime) -> SafeString | str:
    """Return a due moment, absolute and relative; loud when nobody has seen to it."""
    if when is None:
        return words.NOTHING
    if now - when > LATE:
        late = gettext("late by %(length)s: is a worker running?") % {
            "length": words.rough((now - when).total_seconds())
        }
        return words.two_lines(words.exact(when), late, "bad")
    return words.two_lines(words.exact(when), words.ago(when, now))


def coming(schedule: Schedule, now: datetime) -> list[datetime]:
    """Return the next moments, none when it is off or its rule cannot be read."""
    moments = [schedule.next_due_at] if schedule.enabled and schedule.next_due_at else []
    try:
        while moments and len(moments) < NEXT:
            following = schedule.moment_after(max(moments[-1], now))
            if following is None:
                break
            moments.append(following)
    except ValueError:
        pass
    return moments


def _in_zone(schedule: Schedule, moment: datetime) -> str:
    """Return a moment with its weekday in the zone of the schedule."""
    try:
        zone = schedule.zone
    except ValueError:
        zone = None
    return localtime(moment, zone).strftime("%a %Y-%m-%d %H:%M:%S %Z")


def _stored_task(schedule: Schedule) -> str:
    if schedule.pk is None:
        return schedule.task_path
    return Schedule.objects.filter(pk=schedule.pk).values_list("task_path", flat=True).first() or schedule.task_path


def _switch(schedule: Schedule, enabled: bool) -> None:
    with transaction.atomic(using=database()):
        schedule.enabled = enabled
        schedule.save(update_fields=["enabled"])


def _zones() -> list[str]:
    return sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone or zone in ("UTC", settings.TIME_ZONE))


def _queues() -> list[str]:
    return sorted({*jobs_settings.QUEUES, *Queue.objects.values_list("name", flat=True)})
