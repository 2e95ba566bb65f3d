"""Jobs in the admin: what was asked for, what came of it, and the buttons to retry and cancel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db import models, transaction
from django.db.models import Case, F, When
from django.db.models.functions import Length
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import enqueue, moves, states
from ..exceptions import NotDecodable
from ..models import (
    Attempt,
    DbNow,
    EncodedField,
    EncodedText,
    Job,
    Queue,
    Schedule,
    Traceback,
    Worker,
    database,
    db_now,
)
from ..models.job import STATE_LABELS
from ..tasks import registry
from ..tasks.calls import call_text, known_task, masked, named_arguments, value_text
from ..tasks.sensitive import secrecy
from . import words
from .base import JobsModelAdmin, LookOnlyMixin, context_of
from .counts import CAP, CappedPaginator, capped_counts, in_words
from .glance import failed_with
from .labels import AboutFilter, about
from .run import RunTask

TITLE_LENGTH = 300  # characters
SHORT = 4_000  # characters of encoded arguments; longer ones are not read for a list
BIG = ("args", "kwargs", "return_value", "metadata", "context", "progress", "log")
CHUNK = 1000  # jobs moved by one statement
LISTED = 100  # rows named before a deletion


_KINDS = {states.FAILED: "bad", states.RETRYING: "warn"}  # the colour of the sentence below a job


def in_state(state: str) -> models.Q:
    """Return the condition of a state, in the words of the index that serves it."""
    final = models.Q(finished_at__isnull=False) if state in states.FINAL else models.Q()
    return models.Q(state=state) & final


class StateFilter(admin.SimpleListFilter):
    """Drawn as tabs above the list, not in the bar beside it."""

    title = _("state")
    parameter_name = "state"
    template = "admin/django_jobs/job/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, Any]]:
        return STATE_LABELS

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        return queryset.filter(in_state(self.value())) if self.value() else queryset


class QueueFilter(admin.SimpleListFilter):
    title = _("queue")
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(name, name) for name in Queue.objects.order_by("name").values_list("name", flat=True)]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        return queryset.filter(queue_name=self.value()) if self.value() else queryset


class TaskFilter(admin.SimpleListFilter):
    title = _("task")
    parameter_name = "task"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        names = Counter(task.name for task in registry.all_tasks().values())
        return [(path, task.name if names[task.name] == 1 else path) for path, task in registry.all_tasks().items()]

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        return queryset.filter(task_path=self.value()) if self.value() else queryset


class ErrorFilter(admin.SimpleListFilter):
    """Not offered beside the list: the overview links to the jobs that failed with one error."""

    title = _("error")
    parameter_name = "error"
    template = "admin/django_jobs/job/no_filter.html"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin) -> list[tuple[str, str]]:
        return [(request.GET["error"], _("this error"))] if request.GET.get("error") else []

    def queryset(self, request: HttpRequest, queryset: models.QuerySet) -> models.QuerySet:
        if not self.value():
            return queryset
        return queryset.filter(in_state(states.FAILED), pk__in=failed_with(self.value()).values("job"))


@dataclass(frozen=True, kw_only=True)
class Tab:
    """One state above the list."""

    label: Any
    count: str
    link: str
    is_current: bool


class JobList(ChangeList):
    """The list without the big columns, and with tabs."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        jobs = super().get_queryset(request, exclude_parameters)
        sizes = {"args_length": Length("args"), "kwargs_length": Length("kwargs")}
        return (
            jobs.defer(*BIG)
            .alias(**sizes)
            .annotate(now=DbNow(), short_args=_unless_long("args"), short_kwargs=_unless_long("kwargs"))
        )

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        for job in self.result_list:
            job.args = job.short_args or EncodedText()
            job.kwargs = job.short_kwargs or EncodedText()

    @property
    def is_capped(self) -> bool:
        return self.result_count >= CAP

    @cached_property
    def tabs(self) -> list[Tab]:
        """The states, with counts where no other filter is on."""
        current = self.params.get("state")
        counts = {} if self._is_narrowed else self._counts
        return [
            Tab(
                label=label,
                count=in_words(counts[state]) if state in counts else "",
                link=self.get_query_string({"state": state} if state else {}, ["state", "p"]),
                is_current=state == current,
            )
            for state, label in [(None, _("all")), *STATE_LABELS]
        ]

    @property
    def _is_narrowed(self) -> bool:
        return bool(self.query or set(self.params) - {"state"})

    @property
    def _counts(self) -> dict[str | None, int]:
        jobs = Job.objects.using(database())
        return capped_counts({None: jobs} | {state: jobs.filter(in_state(state)) for state in states.STATES})


def _unless_long(column: str) -> Case:
    return Case(When(**{f"{column}_length__lte": SHORT}, then=F(column)), output_field=EncodedField(null=True))


@admin.register(Job)
class JobAdmin(RunTask, LookOnlyMixin, JobsModelAdmin):
    list_display = ["call", "state_word", "queue_name", "attempts_made", "when"]
    list_filter = [AboutFilter, StateFilter, QueueFilter, TaskFilter, ErrorFilter]
    list_per_page = 50
    list_max_show_all = 50
    paginator = CappedPaginator
    ordering = ["-id"]
    sortable_by = []
    search_fields = ["id"]
    search_help_text = _("A job's id, or a part of a task's name")
    actions = ["retry_selected", "cancel_selected"]
    buttons = {"retry": "retry_one", "cancel": "cancel_one"}

    # The list

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return JobList

    def get_search_results(
        self, request: HttpRequest, queryset: models.QuerySet, search_term: str
    ) -> tuple[models.QuerySet, bool]:
        term = search_term.strip().removeprefix("#")
        if not term:
            return queryset, False
        try:
            return queryset.filter(pk=UUID(term)), False
        except ValueError:
            paths = [path for path in registry.all_tasks() if term.lower() in path.lower()]
            return queryset.filter(task_path__in=[term, *paths]), False

    @admin.display(description=_("job"))
    def call(self, job: Job) -> SafeString:
        return words.two_lines(call_text(job), _said(job), _KINDS.get(job.state, "quiet"))

    @admin.display(description=_("state"))
    def state_word(self, job: Job) -> SafeString:
        return words.badge(job.state, job.get_state_display())

    @admin.display(description=_("attempts"))
    def attempts_made(self, job: Job) -> str:
        if not job.attempt:
            return words.NOTHING
        if job.max_attempts is None or job.attempt > job.max_attempts:
            return str(job.attempt)
        return gettext("%(made)s of %(most)s") % {"made": job.attempt, "most": job.max_attempts}

    @admin.display(description=_("when"))
    def when(self, job: Job) -> SafeString | str:
        return words.moment(_moment_of(job), job.now)

    # One job

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        job = context_of(response).get("original")
        if isinstance(job, Job):
            response.context_data |= self._page(request, job)
        return response

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["id"]  # the page is drawn by its template

    def _page(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        now, call = db_now(), call_text(job, TITLE_LENGTH)
        attempts = list(Attempt.objects.filter(job=job.pk).order_by("number"))
        workers = _worker_names({job.worker, *(attempt.worker for attempt in attempts)})
        may_act = self.may_change(request)
        return {
            "title": call,
            "subtitle": None,
            "original": call,  # what the breadcrumbs end in
            "job": job,
            "state": self.state_word(job),
            "said": _said(job),
            "cancel_requested": words.moment(job.cancel_requested_at, now) if _is_stopping(job) else None,
            "retry_url": self.page("retry", job.pk) if may_act and _can_be_retried(job) else None,
            "cancel_url": self.page("cancel", job.pk) if may_act and _can_be_cancelled(job) else None,
            "delete_url": self.page("delete", job.pk) if self.has_delete_permission(request, job) else None,
            "history_url": self.page("history", job.pk),
            "steps": [self._created(job, now), *_steps(job, attempts, workers, now)],
            "attempts": _with_tracebacks(attempts),
            "arguments": named_arguments(job),
            "facts": [*about(request, self.admin_site, job), *self._facts(job, workers)],
            "progress": _progress(job),
            "results": list(_values(job)),
        }

    def _created(self, job: Job, now: datetime) -> Step:
        return Step(title=_("Created"), when=words.moment(job.enqueued_at, now), details=tuple(self._origin(job)))

    def _origin(self, job: Job) -> Iterator[Any]:
        if job.created_by:
            yield gettext("by %(who)s") % {"who": job.created_by}
        schedule = Schedule.objects.filter(pk=job.schedule_id).only("name").first() if job.schedule_id else None
        if schedule:
            address = reverse(f"{self.admin_site.name}:django_jobs_schedule_change", args=[schedule.pk])
            yield format_html('{} <a href="{}">{}</a>', _("by the schedule"), address, schedule.name)
        if job.parent:
            address = self.page("change", job.parent)
            yield format_html('{} <a href="{}">{}</a>', _("after the job"), address, job.parent)
        if job.copied_from:
            address = self.page("change", job.copied_from)
            yield format_html('{} <a href="{}">{}</a>', _("a copy of"), address, job.copied_from)

    def _facts(self, job: Job, workers: dict[UUID, str]) -> Iterator[tuple[Any, Any]]:
        yield _("Task"), job.task_path if known_task(job.task_path) else _not_known(job.task_path)
        yield _("Queue, priority"), f"{job.queue_name}, {job.priority}"
        yield _("Attempts"), self.attempts_made(job)
        yield _("Time limit"), f"{job.timeout:g} s" if job.timeout else _("none")
        if job.expires_at:
            yield _("Expires"), words.exact(job.expires_at)
        if job.followed:
            followers = Job.objects.filter(parent=job.pk).only("task_path", "state").order_by("pk")[:LISTED]
            yield _("Followed by"), format_html_join(", ", '<a href="{}">{}</a> {}', map(self._follower, followers))
        if job.losses:
            yield _("Workers lost"), f"{job.losses} ({_('at most')} {job.max_losses})"
        if job.worker:
            yield _("Worker"), workers[job.worker]
        if job.prune_at:
            yield _("Kept until"), words.exact(job.prune_at)
        if job.backend:
            yield _("Backend"), job.backend
        yield _("Id"), job.pk

    def _follower(self, job: Job) -> tuple[str, str, Any]:
        return self.page("change", job.pk), job.name, job.get_state_display()

    # Acts

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

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
        running = [gettext("%(job)s is running: cancel it first.") % {"job": job} for job in objs if _is_running(job)]
        named = [str(job) for job, _place in zip(objs, range(LISTED), strict=False)]
        count = len(objs)
        if count > LISTED:
            named.append(gettext("and %(count)s more") % {"count": count - LISTED})
        return named, {self.opts.verbose_name_plural: count}, set(), running[:LISTED]

    def delete_model(self, request: HttpRequest, obj: Job) -> None:
        self.delete_queryset(request, Job.objects.filter(pk=obj.pk))

    def delete_queryset(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        alias = database()
        for jobs in _chunks(queryset):
            with transaction.atomic(using=alias):
                still = Job.objects.using(alias).filter(pk__in=[job.pk for job in jobs])
                ids = list(still.exclude(state=states.RUNNING).select_for_update().values_list("pk", flat=True))
                moves.erase(alias, ids)


def _chunks(jobs: models.QuerySet) -> Iterator[list[Job]]:
    """Yield the jobs as they are now in handfuls, at most CAP of them."""
    found = list(Job.objects.filter(pk__in=jobs.order_by().values("pk")).only("pk", "task_path", "state")[:CAP])
    for start in range(0, len(found), CHUNK):
        yield found[start : start + CHUNK]


def _by(request: HttpRequest) -> str:
    return gettext("cancelled by %(user)s") % {"user": request.user.get_username()}


def _said(job: Job) -> str:
    """Return the sentence that stands below a job."""
    if job.state == states.CANCELLED:
        return job.reason or job.last_error
    if job.state in (states.SUCCEEDED, states.RUNNING):
        return ""
    if job.state == states.SCHEDULED and job.run_after is None:
        return gettext("waits for the run before it to end")
    return job.last_error or job.reason


def _moment_of(job: Job) -> datetime:
    """Return the moment that matters most in the job's state."""
    match job.state:
        case states.SCHEDULED | states.RETRYING:
            return job.run_after or job.enqueued_at
        case states.RUNNING:
            return job.started_at or job.claimed_at or job.enqueued_at
    return job.finished_at or job.enqueued_at


def _is_running(job: Job) -> bool:
    return job.state == states.RUNNING


def _is_stopping(job: Job) -> bool:
    return _is_running(job) and job.cancel_requested_at is not None


def _can_be_cancelled(job: Job) -> bool:
    return not job.is_finished and not _is_stopping(job)


def _can_be_retried(job: Job) -> bool:
    return job.is_finished and job.reason != moves.ABANDONED


def _not_known(task_path: str) -> SafeString:
    return words.two_lines(task_path, _("This process does not know it; a worker may."))


@dataclass(frozen=True, kw_only=True)
class Step:
    """One event in the life of a job."""

    title: Any
    when: SafeString | str
    kind: str = ""
    details: tuple[Any, ...] = ()


def _steps(job: Job, attempts: list[Attempt], workers: dict[UUID, str], now: datetime) -> Iterator[Step]:
    """Yield what became of the job after its creation."""
    if job.run_after and job.run_after > job.enqueued_at and not attempts:
        yield Step(title=_("Due"), when=words.moment(job.run_after, now))
    for attempt in attempts:
        yield _attempt_step(attempt, workers, now)
    if job.run_after and job.state == states.RETRYING:
        yield Step(title=_("Next attempt"), when=words.moment(job.run_after, now))
    if job.state in (states.RUNNING, states.SUCCEEDED) and job.claimed_at:
        where = workers.get(job.worker, "")
        title = gettext("Attempt %(number)s started") % {"number": job.attempt}
        yield Step(title=title, when=words.moment(job.started_at or job.claimed_at, now), details=(where,))
    if job.is_finished:
        details = [words.took(job.duration) if job.state == states.SUCCEEDED else "", job.reason]
        title = job.get_state_display().capitalize()
        yield Step(title=title, when=words.moment(job.finished_at, now), kind=job.state, details=tuple(details))


def _attempt_step(attempt: Attempt, workers: dict[UUID, str], now: datetime) -> Step:
    length = attempt.finished_at - attempt.started_at if attempt.started_at else None
    return Step(
        title=gettext("Attempt %(number)s: %(kind)s") % {"number": attempt.number, "kind": attempt.get_kind_display()},
        when=words.moment(attempt.finished_at, now),
        kind=attempt.kind,
        details=(words.took(length), workers.get(attempt.worker, "")),
    )


def _worker_names(ids: set[UUID | None]) -> dict[UUID, str]:
    """Return names by id; a worker whose row is gone is named by its id."""
    wanted = {id for id in ids if id}
    found = {worker.pk: str(worker) for worker in Worker.objects.filter(pk__in=wanted).only("host", "pid")}
    return {id: found.get(id) or str(id) for id in wanted}


def _with_tracebacks(attempts: list[Attempt]) -> list[tuple[Attempt, str]]:
    keys = {attempt.fingerprint for attempt in attempts if attempt.fingerprint}
    texts = dict(Traceback.objects.filter(pk__in=keys).values_list("pk", "text")) if keys else {}
    return [(attempt, texts.get(attempt.fingerprint, "")) for attempt in attempts]


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
