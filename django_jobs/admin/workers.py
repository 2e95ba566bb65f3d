"""Queues and workers in the admin: what waits, what is paused and why, who is alive."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.helpers import ActionForm
from django.contrib.admin.utils import quote
from django.contrib.admin.views.main import ChangeList
from django.db import models
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from .. import moves, states
from ..exceptions import NotDecodable
from ..models import DbNow, Job, Queue, Worker, db_now
from ..scheduler.pauses import pause, resume
from ..scheduler.rescue import present
from ..selection import in_state
from ..tasks.calls import call_text, value_text
from . import words
from .base import JobsModelAdmin, LookOnlyMixin, context_of
from .counts import CAP, capped_counts, in_words

CHUNK = 1000  # jobs moved by one statement
MOST_SHOWN = 20  # jobs that a worker runs


class QueueList(ChangeList):
    """The queues, with what waits in those of the page."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        return super().get_queryset(request, exclude_parameters).annotate(now=DbNow())

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        counts = capped_counts({queue.name: waiting_in(queue.name) for queue in self.result_list})
        for queue in self.result_list:
            queue.waiting = counts[queue.name]


def waiting_in(name: str) -> models.QuerySet:
    return Job.objects.filter(in_state(states.QUEUED), queue_name=name)


class PauseForm(ActionForm):
    reason = forms.CharField(required=False, max_length=200, label=_("Reason:"))


@admin.register(Queue)
class QueueAdmin(LookOnlyMixin, JobsModelAdmin):
    list_display = ["title", "waiting_now", "state_word"]
    is_about_workers = True
    ordering = ["name"]
    sortable_by = []
    action_form = PauseForm
    actions = ["pause_selected", "resume_selected"]
    buttons = {"pause": "pause_one", "resume": "resume_one", "purge": "purge_one"}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return QueueList

    @admin.display(description=_("queue"))
    def title(self, queue: Queue) -> str:
        return queue.name

    @admin.display(description=_("waiting"))
    def waiting_now(self, queue: Queue) -> SafeString:
        jobs = reverse(f"{self.admin_site.name}:django_jobs_job_changelist")
        query = urlencode({"state": states.QUEUED, "queue": queue.name})
        link = format_html('<a href="{}?{}">{}</a>', jobs, query, in_words(queue.waiting))
        return words.labelled(_("waiting"), link)

    @admin.display(description=_("state"))
    def state_word(self, queue: Queue) -> SafeString:
        if queue.paused_at is None:
            return words.badge("on", _("going"))
        return words.two_lines(words.badge("off", _("paused")), _why_paused(queue, queue.now))

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        queue = context_of(response).get("original")
        if isinstance(queue, Queue):
            response.context_data |= self._page(request, queue)
        return response

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["name"]  # the page is drawn by its template

    def _page(self, request: HttpRequest, queue: Queue) -> dict[str, Any]:
        queue.waiting = capped_counts({queue.name: waiting_in(queue.name)})[queue.name]
        queue.now = db_now()
        may_act, is_paused = self.may_change(request), queue.paused_at is not None
        return {
            "title": gettext("Queue %(name)s") % {"name": queue.name},
            "subtitle": None,
            "state": self.state_word(queue),
            "waiting": self.waiting_now(queue),
            "pause_url": self.page("pause", quote(queue.pk)) if may_act and not is_paused else None,
            "purge_url": self.page("purge", quote(queue.pk)) if may_act and queue.waiting else None,
            "count": in_words(queue.waiting),
            "resume_url": self.page("resume", quote(queue.pk)) if may_act and is_paused else None,
            "history_url": self.page("history", quote(queue.pk)),
        }

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may_change(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def pause_one(self, request: HttpRequest, queue: Queue) -> None:
        self._pause(request, [queue])

    def resume_one(self, request: HttpRequest, queue: Queue) -> None:
        self._resume(request, [queue])

    def purge_one(self, request: HttpRequest, queue: Queue) -> None:
        """Cancel what waits in the queue; the jobs stay, to be looked at and retried."""
        ids = list(waiting_in(queue.name).order_by("-priority", "pk").values_list("pk", flat=True)[:CAP])
        reason = gettext("purged by %(user)s") % {"user": request.user.get_username()}
        count = 0
        for start in range(0, len(ids), CHUNK):
            chosen = waiting_in(queue.name).filter(pk__in=ids[start : start + CHUNK])
            count += len(moves.cancel(chosen, reason=reason))
        message = ngettext("Purged: %(count)s job.", "Purged: %(count)s jobs.", count) % {"count": count}
        self.log_act(request, [queue] * bool(count), message)
        done = ngettext("%(count)s job was cancelled.", "%(count)s jobs were cancelled.", count) % {"count": count}
        self.say(request, count, done, gettext("Nothing waits in this queue."))

    @admin.action(description=_("Pause"), permissions=["pause"])
    def pause_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._pause(request, list(queryset.filter(paused_at__isnull=True)))

    @admin.action(description=_("Resume"), permissions=["pause"])
    def resume_selected(self, request: HttpRequest, queryset: models.QuerySet) -> None:
        self._resume(request, list(queryset.filter(paused_at__isnull=False)))

    def _pause(self, request: HttpRequest, queues: list[Queue]) -> None:
        reason = request.POST.get("reason", "").replace("\0", "").strip()
        count = pause([queue.name for queue in queues], by=request.user.get_username(), reason=reason)
        self.log_act(request, queues, gettext("Paused: %(reason)s") % {"reason": reason or words.NOTHING})
        done = ngettext("%(count)s queue was paused.", "%(count)s queues were paused.", count) % {"count": count}
        self.say(request, count, done, gettext("Nothing to pause."))

    def _resume(self, request: HttpRequest, queues: list[Queue]) -> None:
        count = resume([queue.name for queue in queues])
        self.log_act(request, queues, gettext("Resumed."))
        done = ngettext("%(count)s queue goes on.", "%(count)s queues go on.", count) % {"count": count}
        self.say(request, count, done, gettext("Nothing to resume."))


def _why_paused(queue: Queue, now: datetime) -> str:
    who = gettext("by %(who)s, ") % {"who": queue.paused_by} if queue.paused_by else ""
    since = f"{who}{words.ago(queue.paused_at, now)}"
    return f"{since}: {queue.reason}" if queue.reason else since


class WorkerList(ChangeList):
    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> models.QuerySet:
        return super().get_queryset(request, exclude_parameters).annotate(now=DbNow())

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.result_list = list(self.result_list)
        held = capped_counts({worker.pk: running_on(worker.pk) for worker in self.result_list})
        for worker in self.result_list:
            worker.busy = held[worker.pk]


def running_on(worker: UUID) -> models.QuerySet:
    return Job.objects.filter(in_state(states.RUNNING), worker=worker)


@admin.register(Worker)
class WorkerAdmin(LookOnlyMixin, JobsModelAdmin):
    is_about_workers = True
    list_display = ["title", "state_word", "serves", "busy_slots", "beat", "started"]
    ordering = ["-started_at"]
    sortable_by = []
    actions = None
    list_per_page = 50
    buttons = {"quiet": "quiet_one", "wake": "wake_one", "stop": "stop_one"}

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return WorkerList

    @admin.display(description=_("worker"))
    def title(self, worker: Worker) -> str:
        return str(worker)

    @admin.display(description=_("state"))
    def state_word(self, worker: Worker) -> SafeString:
        state, label = worker_state(worker, worker.now)
        return words.badge(state, label)

    @admin.display(description=_("queues"))
    def serves(self, worker: Worker) -> str:
        return serves_in_words(worker)

    @admin.display(description=_("busy"))
    def busy_slots(self, worker: Worker) -> SafeString:
        busy = gettext("%(busy)s of %(slots)s") % {"busy": worker.busy, "slots": worker.slots}
        return words.labelled(_("busy"), busy)

    @admin.display(description=_("last heard of"))
    def beat(self, worker: Worker) -> SafeString:
        return words.labelled(_("last heard of"), words.moment(worker.beat_at, worker.now))

    @admin.display(description=_("started"))
    def started(self, worker: Worker) -> SafeString:
        return words.labelled(_("started"), words.moment(worker.started_at, worker.now))

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict | None = None
    ) -> HttpResponse:
        response = super().change_view(request, object_id, form_url, extra_context)
        worker = context_of(response).get("original")
        if isinstance(worker, Worker):
            response.context_data |= self._page(request, worker)
        return response

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["id"]  # the page is drawn by its template

    def quiet_one(self, request: HttpRequest, worker: Worker) -> None:
        done = gettext("It takes nothing more from its next heartbeat on, and ends what it has begun.")
        self._wish(request, worker, Worker.Wish.QUIET, gettext("Told to take nothing more."), done)

    def wake_one(self, request: HttpRequest, worker: Worker) -> None:
        done = gettext("It goes on from its next heartbeat on.")
        self._wish(request, worker, Worker.Wish.NONE, gettext("Told to go on."), done)

    def stop_one(self, request: HttpRequest, worker: Worker) -> None:
        done = gettext("It stops in good order from its next heartbeat on; what started it may start another.")
        self._wish(request, worker, Worker.Wish.STOP, gettext("Told to stop."), done)

    def _wish(self, request: HttpRequest, worker: Worker, wish: str, message: str, done: str) -> None:
        alive = Worker.objects.filter(present(), pk=worker.pk).exclude(wish__in=[wish, Worker.Wish.STOP])
        count = alive.update(wish=wish)
        self.log_act(request, [worker] * count, message)
        self.say(request, count, done, gettext("It is told so already, or has ended."))

    def _acts(self, request: HttpRequest, worker: Worker) -> list[tuple[str, Any]]:
        state, _label = worker_state(worker, worker.now)
        possible = wishes_possible(state) if self.may_change(request) else []
        return [(self.page(name, worker.pk), label) for name, label in possible]

    def _page(self, request: HttpRequest, worker: Worker) -> dict[str, Any]:
        worker.now = db_now()
        worker.busy = capped_counts({worker.pk: running_on(worker.pk)})[worker.pk]
        return {
            "title": gettext("Worker %(name)s") % {"name": worker},
            "subtitle": None,
            "state": self.state_word(worker),
            "acts": self._acts(request, worker),
            "facts": [
                (_("Queues"), self.serves(worker)),
                (_("Busy"), self.busy_slots(worker)),
                (_("Last heard of"), self.beat(worker)),
                (_("Started"), self.started(worker)),
                (_("Version"), worker.version or words.NOTHING),
                (_("Id"), worker.pk),
                *((str(name).replace("_", " "), value_text(value)) for name, value in worker_info(worker).items()),
            ],
            "running": [
                (reverse(f"{self.admin_site.name}:django_jobs_job_change", args=[job.pk]), call_text(job))
                for job in running_on(worker.pk).order_by("claimed_at")[:MOST_SHOWN]
            ],
        }


def wishes_possible(state: str) -> list[tuple[str, Any]]:
    """Return what may be wanted of a worker now: the name of the act, and its word."""
    match state:
        case "alive":
            return [("quiet", _("Quiet")), ("stop", _("Stop"))]
        case "quiet":
            return [("wake", _("Go on")), ("stop", _("Stop"))]
    return []


def worker_state(worker: Worker, now: datetime) -> tuple[str, Any]:
    """Return a worker's state and the word for it."""
    if worker.stopped_at:
        return "stopped", _("stopped")
    if worker.lost_at or worker.alive_until < now:
        return "gone", _("gone")
    match worker.wish:
        case Worker.Wish.QUIET:
            return "quiet", _("quiet")
        case Worker.Wish.STOP:
            return "stopping", _("stopping")
    return "alive", _("alive")


def worker_info(worker: Worker) -> dict[str, Any]:
    """Return what a worker says of itself, whatever is stored."""
    try:
        return worker.info if isinstance(worker.info, dict) else {}
    except NotDecodable:
        return {}


def serves_in_words(worker: Worker) -> str:
    try:
        return ", ".join(map(str, worker.queues)) or gettext("every queue")
    except (NotDecodable, TypeError):
        return words.NOTHING
