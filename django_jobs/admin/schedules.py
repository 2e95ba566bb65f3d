"""Schedules in the admin: when they run in words, what is due next, and a form that shows it while one types."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import models, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ..exceptions import JobsError, NotDecodable
from ..models import DbNow, Job, Schedule, database, db_now
from ..scheduler.preview import in_zone
from ..scheduler.produce import run_now
from ..scheduler.sync import restore
from ..scheduler.words import sentence
from ..tasks.calls import call_text, named_arguments
from . import words
from .base import JobsModelAdmin, context_of
from .day import hours_of
from .preview import Preview
from .runnable import may_run, queue_names
from .runs import last_runs, squares, typical_duration
from .schedule_form import EDITED, ScheduleForm

LATE = timedelta(seconds=30)  # a healthy worker is late by a second
DELETED = 100  # schedules named before a deletion

RULE = ["cron", "every", "once_at", "timezone"]
WHEN = ["when", "every", "at", "weekdays", "monthdays", "cron", "once_at", "timezone"]
SAFETY = ["overlap", "after_downtime", "catch_up", "starts_at", "ends_at", "max_runs", "jitter"]


class ScheduleList(ChangeList):
    """The list, with what a row shows besides its columns."""

    def __init__(self, request: HttpRequest, *args: Any, **options: Any):
        self.request = request
        super().__init__(request, *args, **options)

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        return super().get_queryset(request, exclude_parameters).annotate(now=DbNow())

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        runs = last_runs(self.result_list)
        for schedule in self.result_list:
            schedule.row = Row(
                runs=runs[schedule.pk],
                may_act=self.model_admin.may_act(request, schedule),
                may_add=self.model_admin.has_add_permission(request),
                may_see_jobs=request.user.has_perm("django_jobs.view_job"),
                back=urlencode({"back": request.GET.urlencode()}),
            )

    @property
    def tabs(self) -> list[tuple[Any, str, bool]]:
        """All, those switched on and those switched off, each with its link and whether it is shown."""
        name, current = "enabled__exact", self.params.get("enabled__exact")
        tabs = [(_("all"), None), (_("on"), "1"), (_("off"), "0")]
        return [
            (label, self.get_query_string({name: value} if value else {}, [name, "p"]), value == current)
            for label, value in tabs
        ]

    @property
    def day_url(self) -> str:
        return self.model_admin.page("day")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What one row of the list knows besides its schedule."""

    runs: list[Any]
    may_act: bool
    may_add: bool
    may_see_jobs: bool
    back: str


@admin.register(Schedule)
class ScheduleAdmin(JobsModelAdmin):
    form = ScheduleForm
    list_display = ["is_on", "what", "runs", "next_run", "last_run", "acts"]
    list_display_links = ["what"]
    list_per_page = 50
    ordering = ["name"]
    sortable_by = []
    search_fields = ["name", "task_path"]
    actions = ["run_selected", "enable_selected", "disable_selected"]
    buttons = {"run": "run_one", "switch": "switch_one", "restore": "restore_one"}

    class Media:
        js = ["django_jobs/schedule_form.js"]

    def get_urls(self) -> list[Any]:
        return [path("day/", self.admin_site.admin_view(self.day_view), name=self.url("day")), *super().get_urls()]

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return ScheduleList

    @admin.display(description=_("on"))
    def is_on(self, schedule: Schedule) -> SafeString:
        word, kind = (_("on"), "on") if schedule.enabled else (_("off"), "off")
        if not schedule.row.may_act:
            return words.badge(kind, word)
        return format_html(
            '<button type="submit" class="dj-switch dj-switch-{}" role="switch" aria-checked="{}" aria-label="{}"'
            ' formaction="{}?{}" formnovalidate>{}</button>',
            kind,
            "true" if schedule.enabled else "false",
            schedule.name,
            self.page("switch", schedule.pk),
            schedule.row.back,
            word,
        )

    @admin.display(description=_("schedule"))
    def what(self, schedule: Schedule) -> SafeString:
        return format_html("{}{}", words.two_lines(schedule.name, call_text(schedule)), _origin(schedule))

    @admin.display(description=_("runs"))
    def runs(self, schedule: Schedule) -> SafeString:
        return words.two_lines(sentence(schedule), schedule.cron)

    @admin.display(description=_("next run"))
    def next_run(self, schedule: Schedule) -> SafeString:
        if not schedule.enabled:
            return words.two_lines(words.NOTHING, gettext(schedule.note) if schedule.note else "", "warn")
        return words.labelled(_("next run"), due(schedule))

    @admin.display(description=_("last runs"))
    def last_run(self, schedule: Schedule) -> SafeString:
        row, length = schedule.row, typical_duration(schedule.row.runs)
        about = gettext("typically %(length)s") % {"length": words.took(length)} if length else ""
        if schedule.last_run_at:
            when = words.moment(schedule.last_run_at, schedule.now)
            about = format_html("{}{}{}", when, ", " if about else "", about)
        return words.two_lines(squares(row.runs, self._job_page if row.may_see_jobs else _nowhere, schedule.now), about)

    @admin.display(description=_("acts"))
    def acts(self, schedule: Schedule) -> SafeString:
        row, run, duplicate = schedule.row, "", ""
        if row.may_act:
            run = format_html(
                '<button type="submit" class="dj-button" formaction="{}?{}" formnovalidate aria-label="{}">{}</button>',
                *(self.page("run", schedule.pk), row.back, f"{gettext('Run now')}: {schedule.name}", _("Run now")),
            )
        if row.may_act and row.may_add:
            duplicate = format_html(
                '<a class="dj-button dj-button-quiet" href="{}?copy={}" aria-label="{}">{}</a>',
                *(self.page("add"), schedule.pk, f"{gettext('Duplicate')}: {schedule.name}", _("Duplicate")),
            )
        return format_html('<div class="dj-acts">{}{}</div>', run, duplicate)

    def _job_page(self, job: UUID) -> str:
        return reverse(f"{self.admin_site.name}:django_jobs_job_change", args=[job])

    # The next 24 hours

    def day_view(self, request: HttpRequest) -> HttpResponse:
        """Show what runs in the next 24 hours, hour by hour."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "title": gettext("The next 24 hours"),
            "opts": self.opts,
            "media": self.media,
            "list_url": self.page("changelist"),
            **hours_of(db_now(), lambda pk: self.page("change", pk)),
        }
        response = TemplateResponse(request, "admin/django_jobs/schedule/day.html", context)
        return self.with_warnings(request, response)

    # One schedule

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Schedule | None:
        found = super().get_object(request, object_id, from_field)
        if found is not None:
            found.loaded_task = found.task_path  # whatever a form puts there: permissions go by what is stored
        return found

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        form = super().get_form(request, obj, change, **kwargs)
        form.user = request.user  # the class is made anew for each request
        form.copied = self._copied(request) if obj is None else None
        form.only_preview = "_preview" in request.POST
        return form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        initial = {"overlap": Schedule.Overlap.SKIP, "when": "every", **super().get_changeform_initial_data(request)}
        initial.pop("copy", None)
        copied = self._copied(request)
        if copied:
            names = [one for one in EDITED if one not in ("name", "args", "kwargs")]
            initial |= {name: getattr(copied, name) for name in names}
            initial |= {"name": gettext("%(name)s (copy)") % {"name": copied.name[:180]}}
            del initial["when"]
        return initial

    def _copied(self, request: HttpRequest) -> Schedule | None:
        """Return the schedule that a new one is a duplicate of."""
        pk = request.GET.get("copy", "")
        found = Schedule.objects.filter(pk=int(pk)).first() if pk.isdecimal() and len(pk) < 19 else None
        return found if found and self.may_act(request, found) else None

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        how = (_("How"), {"fields": ["queue_name", "priority"], "classes": ["collapse"]})
        if obj is not None and not self.has_change_permission(request, obj):
            # Arguments as they may be shown: a form would hide secrets by itself.
            return [
                (None, {"fields": ["name", "enabled", "task_path", "arguments"]}),
                (_("When"), {"fields": RULE}),
                (_("Safety"), {"fields": SAFETY}),
                how,
            ]
        return [
            (None, {"fields": ["name", "enabled", "task_path", "arguments_as", "args", "kwargs"]}),
            (_("When"), {"fields": WHEN, "description": _("Only the fields of what is chosen first count.")}),
            (_("Safety"), {"fields": SAFETY}),
            how,
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
        if "adminform" not in context_of(response):
            return response
        response.context_data |= self._page(request, response.context_data)
        if request.headers.get("X-Requested-With") == "django_jobs":  # our script wants what changes, nothing else
            response.template_name = "admin/django_jobs/schedule/regions.html"
        return response

    def _page(self, request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
        form, schedule = context["adminform"].form, context.get("original")
        now = db_now()
        can_change = self.has_change_permission(request, schedule) if schedule else True
        page: dict[str, Any] = {
            "zones": _zones(),
            "queues": queue_names(),
            "preview": Preview(form, now) if can_change and hasattr(form, "arguments") else None,
        }
        if schedule is None:
            return page
        # A form that was posted may have changed this one
        stored = Schedule.objects.get(pk=schedule.pk) if form.is_bound else schedule
        may_act = self.may_act(request, stored)
        runs = last_runs([stored])[stored.pk]
        link = self._job_page if request.user.has_perm("django_jobs.view_job") else _nowhere
        return page | {
            "subtitle": stored.name,
            "sentence": sentence(stored),
            "stored": stored,
            "origin": _origin(stored),
            "note": gettext(stored.note) if stored.note else "",
            "overrides": [capfirst(_label(name)) for name in stored.overrides],
            "next_run": due(stored, now) if stored.enabled else None,
            "squares": squares(runs, link, now),
            "typical": words.took(typical_duration(runs)),
            "last_run": words.moment(stored.last_run_at, now),
            "history_url": self.page("history", stored.pk),
            "run_url": self.page("run", stored.pk) if may_act else None,
            "restore_url": self.page("restore", stored.pk) if may_act and stored.overrides else None,
            "copy_url": f"{self.page('add')}?copy={stored.pk}"
            if may_act and self.has_add_permission(request)
            else None,
        }

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:
        """Say what was changed from what to what; of arguments only that they were."""
        if add:
            return super().construct_change_message(request, form, formsets, add)
        stored = Schedule(**{name: form.before[name] for name in form.before})
        return " ".join(_changes(stored, form.instance)) or gettext("No fields changed.")

    # Permissions: who may run what is also who may schedule it.

    def has_change_permission(self, request: HttpRequest, obj: Schedule | None = None) -> bool:
        # the task as it is stored: the form may have put another one on the object
        return super().has_change_permission(request, obj) and (obj is None or may_run(request.user, _stored_task(obj)))

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    def may_act(self, request: HttpRequest, schedule: Schedule) -> bool:
        """Say whether the user may switch and run the schedule."""
        return self.may_change(request) and may_run(request.user, schedule.task_path)

    # Acts

    def run_one(self, request: HttpRequest, schedule: Schedule) -> HttpResponse:
        job = self._run(request, schedule)
        if "back" in request.GET:
            if job:
                text = format_html('{}: <a href="{}">{}</a>', schedule.name, self._job_page(job.pk), _("runs now"))
                messages.success(request, text)
            return self._to_list(request)
        if job is None:
            return HttpResponseRedirect(self.page("change", schedule.pk))
        messages.success(request, gettext("This is the job, made just now."))
        return HttpResponseRedirect(self._job_page(job.pk))

    def switch_one(self, request: HttpRequest, schedule: Schedule) -> HttpResponse:
        self._set_enabled(request, Schedule.objects.filter(pk=schedule.pk), not schedule.enabled)
        return self._to_list(request)

    def restore_one(self, request: HttpRequest, schedule: Schedule) -> None:
        if not self.may_act(request, schedule):
            raise PermissionDenied
        changed = [capfirst(_label(name)) for name in schedule.overrides]
        try:
            restore(schedule)
        except ValueError as error:  # what is stored of the code cannot be read any more
            messages.error(request, f"{schedule.name}: {error}")
            return
        if changed:
            self.log_act(request, [schedule], gettext("Back to what the code says: %s.") % ", ".join(changed))
        self.say(request, len(changed), gettext("It is as the code says."), gettext("It was as the code says."))

    def _to_list(self, request: HttpRequest) -> HttpResponse:
        """Return to the list as it was."""
        query = request.GET.get("back", "")
        return HttpResponseRedirect(f"{self.page('changelist')}{'?' + query if query else ''}")

    @admin.action(description=_("Run now"), permissions=["run"])
    def run_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        count = sum(self._run(request, schedule) is not None for schedule in queryset)
        done = ngettext("%(count)s job was made.", "%(count)s jobs were made.", count) % {"count": count}
        if count:
            messages.success(request, done)

    def _run(self, request: HttpRequest, schedule: Schedule) -> Job | None:
        """Make a job of the schedule; when that cannot be, say why."""
        try:
            if not self.may_act(request, schedule):
                raise PermissionError(gettext("You may not run this task."))
            job = run_now(schedule, by=request.user.get_username())
        except (JobsError, TypeError, PermissionError) as error:
            messages.error(request, f"{schedule.name}: {error}")
            return None
        self.log_act(request, [schedule], gettext("Run now."))
        return job

    @admin.action(description=_("Switch on"), permissions=["change"])
    def enable_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._set_enabled(request, queryset, True)

    @admin.action(description=_("Switch off"), permissions=["change"])
    def disable_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._set_enabled(request, queryset, False)

    def _set_enabled(self, request: HttpRequest, queryset: models.QuerySet, enabled: bool) -> None:
        changed = []
        for schedule in queryset.filter(enabled=not enabled):
            if not self.may_act(request, schedule):
                messages.error(request, f"{schedule.name}: {gettext('You may not schedule this task.')}")
                continue
            try:
                _switch(schedule, enabled)
            except ValueError as error:
                messages.error(request, f"{schedule.name}: {error}")
            else:
                changed.append(schedule)
        self.log_act(request, changed, gettext("Switched on.") if enabled else gettext("Switched off."))
        done = ngettext("%(count)s schedule was changed.", "%(count)s schedules were changed.", len(changed))
        if changed:
            messages.success(request, done % {"count": len(changed)})

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> tuple[list, dict, set, list]:
        """Name the schedules only: their runs may be thousands, and their jobs stay."""
        named = [str(schedule) for schedule, _place in zip(objs, range(DELETED), strict=False)]
        return named, {self.opts.verbose_name_plural: len(objs)}, set(), []


def due(schedule: Schedule, now: datetime | None = None) -> SafeString | str:
    """Return the next moment, absolute and relative; loud when nobody has seen to it."""
    when, now = schedule.next_due_at, now or schedule.now
    if when is None:
        return words.NOTHING
    if now - when > LATE:
        late = gettext("late by %(length)s: is a worker running?") % {
            "length": words.rough((now - when).total_seconds())
        }
        return words.two_lines(in_zone(schedule, when), late, "bad")
    return words.two_lines(in_zone(schedule, when), words.ago(when, now))


def _origin(schedule: Schedule) -> SafeString | str:
    """Return the badges of a schedule that the code declares."""
    if schedule.key is None:
        return ""
    if schedule.is_removed:
        return format_html(' <span class="dj-state dj-state-off">{}</span>', _("removed from the code"))
    changed = format_html(' <span class="dj-state dj-state-retrying">{}</span>', _("changed here"))
    return format_html(' <span class="dj-state">{}</span>{}', _("from the code"), changed if schedule.overrides else "")


def _nowhere(job: UUID) -> None:
    """Link to nothing: who may not see jobs is not led to them."""


def _label(column: str) -> str:
    label = ScheduleForm.base_fields[column].label if column in ScheduleForm.base_fields else None
    return str(label or Schedule._meta.get_field(column).verbose_name)


def _changes(before: Schedule, after: Schedule) -> Iterator[str]:
    """Yield a sentence for each column that has changed; a rule is one."""
    if [getattr(before, name) for name in RULE] != [getattr(after, name) for name in RULE]:
        yield gettext("When: %(before)s → %(after)s.") % {"before": _rule(before), "after": _rule(after)}
    if _arguments(before) != _arguments(after):
        yield gettext("Arguments changed.")
    for name in EDITED:
        if name in (*RULE, "args", "kwargs"):
            continue
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            words_of = {"what": _label(name), "before": _said(old), "after": _said(new)}
            yield gettext("%(what)s: %(before)s → %(after)s.") % words_of


def _rule(schedule: Schedule) -> str:
    said = sentence(schedule)
    return f"{said} ({schedule.cron})" if schedule.cron and schedule.cron != said else said


def _arguments(schedule: Schedule) -> Any:
    try:
        return schedule.args, schedule.kwargs
    except NotDecodable as error:
        return str(error)


def _said(value: Any) -> str:
    match value:
        case None | "":
            return words.NOTHING
        case bool():
            return gettext("yes") if value else gettext("no")
        case datetime():
            return words.exact(value)
    return str(value)


def _stored_task(schedule: Schedule) -> str:
    if schedule.pk is None:
        return schedule.task_path
    if hasattr(schedule, "loaded_task"):
        return schedule.loaded_task
    return Schedule.objects.filter(pk=schedule.pk).values_list("task_path", flat=True).first() or schedule.task_path


def _switch(schedule: Schedule, enabled: bool) -> None:
    with transaction.atomic(using=database()):
        schedule.enabled = enabled
        if enabled and schedule.is_spent:
            raise ValueError(gettext("It has made all its runs: allow more."))
        schedule.save(update_fields=["enabled"])


def _zones() -> list[str]:
    return sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone or zone in ("UTC", settings.TIME_ZONE))
