"""The overview in the admin: what needs attention and what helps, then everything at a glance."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.contrib import admin
from django.contrib.admin.utils import quote
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.http import urlencode
from django.utils.timezone import localtime
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import broker, health, states
from ..health import FAILING_MINUTES, Problem
from ..models import Counter, Overview, Worker
from ..selection import Selection
from . import words
from .base import JobsModelAdmin, LookOnlyMixin, is_refresh
from .charts import bars
from .counts import CAP, in_words
from .glance import CHART_MINUTES, MOST_RUNNING, SPARK_MINUTES, ErrorGroup, Glance, QueueFigures, calls
from .retry_all import retry_all
from .workers import serves_in_words, wishes_possible, worker_info, worker_state

MOST_DOING = 3  # calls named of one worker
FAILED = (Counter.Kind.FAILED, Counter.Kind.RETRIED)  # attempts that did


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One number, what it counts, and where one sees exactly that."""

    number: str
    label: Any
    note: str = ""
    link: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueRow:
    figures: QueueFigures
    waiting: str
    oldest: str
    typical: str
    serving: int
    spark: Any
    link: str
    jobs_link: str
    pause_url: str = ""
    resume_url: str = ""
    why_paused: str = ""


@dataclass(frozen=True, kw_only=True)
class ErrorRow:
    group: ErrorGroup
    first: Any
    last: Any
    link: str
    retry_url: str = ""


@dataclass(frozen=True, kw_only=True)
class WorkerRow:
    worker: Worker
    state: Any
    queues: str
    busy: int
    doing: list[str]
    more: int
    idle: Any
    beat: Any
    up: str
    memory: str
    link: str
    acts: list[tuple[str, Any]] = field(default_factory=list)


@admin.register(Overview)
class OverviewAdmin(LookOnlyMixin, JobsModelAdmin):
    """One page, for everybody who may view jobs; each part for those who may view what it is about."""

    class Media:
        css = {"all": ["django_jobs/admin.css"]}
        js = ["django_jobs/live.js"]

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view
        return [
            path("", view(self.changelist_view), name=self.url("changelist")),
            path("retry/<slug:fingerprint>/", view(self.retry_view), name=self.url("retry")),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return request.user.has_perm("django_jobs.view_job") or request.user.has_perm("django_jobs.change_job")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def changelist_view(self, request: HttpRequest, extra_context: dict | None = None) -> HttpResponse:
        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name  # for links in the template, on any admin site
        glance = Glance()
        parts = {name: request.user.has_perm(f"django_jobs.view_{name}") for name in ("queue", "worker", "schedule")}
        page = {
            **self.admin_site.each_context(request),
            "title": _("Background jobs"),
            "opts": self.opts,
            "media": self.media,
            "is_refresh": is_refresh(request),
            "now": words.exact(glance.now),
            "problems": list(problems(glance)),
            "tiles": list(self._tiles(glance)),
            **charts(glance),
            "errors": list(self._errors(request, glance)),
            "queues": list(self._queues(request, glance)) if parts["queue"] else None,
            "workers": list(self._workers(request, glance)) if parts["worker"] else None,
            "schedules": list(self._schedules(glance)) if parts["schedule"] else None,
            "jobs_url": self._address("job_changelist"),
            "run_url": self._address("job_add") if request.user.has_perm("django_jobs.add_job") else None,
        }
        return TemplateResponse(request, "admin/django_jobs/overview.html", page | (extra_context or {}))

    # The parts

    def _tiles(self, glance: Glance) -> Iterator[Tile]:
        waiting = sum(one.waiting for one in glance.queues.values())
        running = len(glance.running)
        yield self._tile(states.QUEUED, in_words(waiting), _("waiting"))
        yield self._tile(states.RUNNING, f"{MOST_RUNNING}+" if running >= MOST_RUNNING else str(running), _("running"))
        yield self._tile(states.RETRYING, in_words(glance.totals[states.RETRYING]), _("will be retried"))
        failed = glance.of_a_day(Counter.Kind.FAILED)
        ended = failed + glance.of_a_day(Counter.Kind.SUCCEEDED)
        note = gettext("%(count)s in 24 h (%(share)s)") % {
            "count": in_words(failed) if failed < CAP else f"{failed:,}",
            "share": f"{100 * failed / ended:.1f} %" if ended else words.NOTHING,
        }
        kind = "bad" if glance.totals[states.FAILED] else ""
        yield self._tile(states.FAILED, in_words(glance.totals[states.FAILED]), _("failed"), note=note, kind=kind)
        yield self._tile(states.SCHEDULED, in_words(glance.totals[states.SCHEDULED]), _("scheduled"))
        alive, everybody = len(glance.alive), len(glance.workers)
        yield Tile(
            number=gettext("%(alive)s of %(all)s") % {"alive": alive, "all": everybody} if alive < everybody else alive,
            label=ngettext("worker alive", "workers alive", everybody),
            link=self._address("worker_changelist"),
            kind="" if alive else "bad",
        )

    def _tile(self, state: str, number: str, label: Any, **more: Any) -> Tile:
        return Tile(number=number, label=label, link=f"{self._address('job_changelist')}?state={state}", **more)

    def _queues(self, request: HttpRequest, glance: Glance) -> Iterator[QueueRow]:
        may_change = request.user.has_perm("django_jobs.change_queue")
        titles = [gettext("%s min ago") % ago for ago in range(SPARK_MINUTES - 1, -1, -1)]
        for name, figures in glance.queues.items():
            ended = [figures.minutes[ago] for ago in range(SPARK_MINUTES - 1, -1, -1)]
            is_paused = figures.queue.paused_at is not None
            act = self._address("queue_resume" if is_paused else "queue_pause", name) if may_change else ""
            yield QueueRow(
                figures=figures,
                waiting=in_words(figures.waiting),
                oldest=_length(glance.now - figures.oldest) if figures.oldest else words.NOTHING,
                typical=_seconds(figures.typical_wait),
                serving=sum(health.serves(one, name) for one in glance.alive),
                spark=bars(ended, titles, height=20, step=4),
                link=self._address("queue_change", name),
                jobs_link=f"{self._address('job_changelist')}?{urlencode({'state': 'queued', 'queue': name})}",
                pause_url="" if is_paused else act,
                resume_url=act if is_paused else "",
                why_paused=health.paused_problem(figures.queue, glance.now).details if is_paused else "",
            )

    def _errors(self, request: HttpRequest, glance: Glance) -> Iterator[ErrorRow]:
        may_retry = request.user.has_perm("django_jobs.change_job")
        for group in glance.errors:
            yield ErrorRow(
                group=group,
                first=words.moment(group.first, glance.now),
                last=words.moment(group.last, glance.now),
                link=f"{self._address('job_changelist')}?{urlencode({'error': group.fingerprint})}",
                retry_url=self._address("overview_retry", group.fingerprint) if may_retry and group.jobs else "",
            )

    def _schedules(self, glance: Glance) -> Iterator[tuple[str, str, str, Any]]:
        for one in glance.schedules:
            when = words.moment(one.next_due_at, glance.now)
            exact = date_format(localtime(one.next_due_at), "D Y-m-d H:i T")
            yield one.name, self._address("schedule_change", one.pk), exact, when

    def _workers(self, request: HttpRequest, glance: Glance) -> Iterator[WorkerRow]:
        may_change = request.user.has_perm("django_jobs.change_worker")
        for worker in glance.workers:
            state, label = worker_state(worker, glance.now)
            doing = glance.doing(worker.pk)
            memory = worker_info(worker).get("memory_mb")
            is_alive = state in ("alive", "quiet", "stopping")
            yield WorkerRow(
                worker=worker,
                state=words.badge(state, label),
                queues=serves_in_words(worker),
                busy=len(doing),
                doing=calls(doing, MOST_DOING),
                more=max(0, len(doing) - MOST_DOING),
                idle=_("idle") if is_alive else words.NOTHING,
                beat=words.moment(worker.beat_at, glance.now),
                up=words.rough((glance.now - worker.started_at).total_seconds()) if is_alive else words.NOTHING,
                memory=f"{memory:,.0f} MB" if isinstance(memory, int | float) and is_alive else words.NOTHING,
                link=self._address("worker_change", worker.pk),
                acts=[
                    (self._address(f"worker_{name}", worker.pk), label)
                    for name, label in wishes_possible(state)
                    if may_change
                ],
            )

    def _address(self, name: str, *args: Any) -> str:
        return reverse(f"{self.admin_site.name}:django_jobs_{name}", args=[quote(one) for one in args])

    # Acts

    def retry_view(self, request: HttpRequest, fingerprint: str) -> HttpResponse:
        """Retry the jobs that failed with one error."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not request.user.has_perm("django_jobs.change_job"):
            raise PermissionDenied
        retry_all(self, request, Selection(fingerprints=(fingerprint,)))
        return HttpResponseRedirect(self.page("changelist"))


def problems(glance: Glance) -> Iterator[Problem]:
    """Yield what needs somebody's attention, in the words of ``jobs health``."""
    yield from health.redis_problems(_without_redis(glance))
    for worker in glance.workers:
        jobs = calls(glance.doing(worker.pk), MOST_DOING)
        yield from _if_any(health.gone_problem(worker, glance.now, jobs, others=bool(glance.alive)))
    for name, figures in glance.queues.items():
        yield from _queue_problems(glance, name, figures)
    for path_, jobs in glance.given_back.items():
        yield health.given_back_problem(path_, len(jobs), jobs[0].reason)
    for schedule in glance.schedules:
        yield from _if_any(health.missed_problem(schedule, glance.now))
    failed = glance.by_minute(*FAILED)
    lately = sum(failed[-FAILING_MINUTES:])
    before = glance.of_a_day(*FAILED) - lately
    yield from _if_any(health.failing_problem(lately, before / (24 * 60 / FAILING_MINUTES - 1)))


def _queue_problems(glance: Glance, name: str, figures: QueueFigures) -> Iterator[Problem]:
    if figures.queue.paused_at:
        yield health.paused_problem(figures.queue, glance.now)
    elif figures.oldest:
        waiting = health.Waiting(
            queue=name, oldest=figures.oldest, count=figures.waiting, counted=in_words(figures.waiting)
        )
        is_moving = bool(figures.running or figures.minutes[0] or figures.minutes[1])
        yield from health.queue_problem(waiting, glance.now, glance.alive, lambda: is_moving)


def _without_redis(glance: Glance) -> float | None:
    """Return for how long a worker has been without Redis, by its own word."""
    if not broker.is_used():
        return None
    said = [worker_info(worker).get("without_redis_s") for worker in glance.alive]
    return max((one for one in said if isinstance(one, int | float)), default=None)


def _if_any(problem: Problem | None) -> Iterator[Problem]:
    if problem:
        yield problem


def charts(glance: Glance) -> dict[str, Any]:
    """Return the last hour by the minute: two rows of bars, and the same numbers for a table."""
    this_minute = localtime(glance.now).replace(second=0, microsecond=0)
    moments = [f"{this_minute - timedelta(minutes=ago):%H:%M}" for ago in range(CHART_MINUTES - 1, -1, -1)]
    succeeded, failed = glance.by_minute(Counter.Kind.SUCCEEDED), glance.by_minute(*FAILED)
    titled = [f"{at}: {a:,} ✓ {b:,} ✗" for at, a, b in zip(moments, succeeded, failed, strict=True)]
    half_wait, most_wait, half_run, most_run = map(_seconds, glance.figures)
    return {
        "succeeded_chart": bars(succeeded, titled, height=96),
        "failed_chart": bars(failed, titled, height=40),
        "minutes": [row for row in zip(moments, succeeded, failed, strict=True) if row[1] or row[2]][::-1],
        "is_quiet": not any(succeeded + failed),
        "succeeded": f"{sum(succeeded):,}",
        "failed": f"{sum(failed):,}",
        "percentiles": [(_("Waiting time"), half_wait, most_wait), (_("Run time"), half_run, most_run)],
    }


def _seconds(length: float | None) -> str:
    return words.NOTHING if length is None else words.took(timedelta(seconds=length))


def _length(length: timedelta) -> str:
    return words.rough(max(0.0, length.total_seconds()))
