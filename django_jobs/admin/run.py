"""Running a task by hand: one chooses it, fills in what it takes, and lands on the page of the job."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext

from .. import enqueue
from ..exceptions import JobsError
from ..models import Job, database
from ..tasks import Task
from ..tasks.calls import call_text, known_task
from .run_form import RunForm
from .runnable import may_run, queue_names, tasks_by_app

FEW = 12  # tasks that one finds without a search
PATH_LENGTH = Job._meta.get_field("task_path").max_length


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One task that can be run, as it is shown."""

    name: str
    path: str
    takes: str
    about: str

    @classmethod
    def of(cls, task: Task) -> Choice:
        about = (inspect.getdoc(task.func) or "").partition("\n\n")[0]
        return cls(name=task.name, path=task.module_path, takes=task.takes, about=" ".join(about.split()))

    def is_meant_by(self, words: str) -> bool:
        return words.casefold() in f"{self.path} {self.about}".casefold()


class RunTask:
    """For the ModelAdmin of jobs: the page that adds one. Who may add jobs may run the tasks that are for the admin."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("django_jobs.add_job")

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: dict | None = None) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        path = (request.POST.get("task") or request.GET.get("task") or "")[:PATH_LENGTH]
        if path and not may_run(request.user, path):
            raise PermissionDenied
        task = known_task(path) if path else None
        if task is None:
            return self._choices_to_run(request, path)
        form = RunForm(task, data=request.POST if request.method == "POST" else None)
        if form.is_valid() and self._run(request, form):
            return HttpResponseRedirect(self._page_after_run(request, form.job))
        return self._form_to_run(request, task, form)

    def _choices_to_run(self, request: HttpRequest, unknown: str) -> HttpResponse:
        words = request.GET.get("q", "").strip()
        groups = [(app, list(map(Choice.of, tasks))) for app, tasks in tasks_by_app(request.user)]
        count = sum(len(choices) for _app, choices in groups)
        meant = [(app, [one for one in choices if one.is_meant_by(words)]) for app, choices in groups]
        return self._answer(
            request,
            "choose",
            title=gettext("Run a task"),
            unknown=unknown,
            words=words,
            has_search=count > FEW,
            count=count,
            groups=[(app, choices) for app, choices in meant if choices],
        )

    def _form_to_run(self, request: HttpRequest, task: Task, form: RunForm) -> HttpResponse:
        choice = Choice.of(task)
        title = gettext("Run %(task)s") % {"task": choice.name}
        return self._answer(request, "run", title=title, choice=choice, form=form, queues=queue_names())

    def _answer(self, request: HttpRequest, name: str, **context: Any) -> HttpResponse:
        request.current_app = self.admin_site.name
        shared = {"opts": self.opts, "media": self.media, "run_url": self.page("add")}
        may_list = self.has_view_or_change_permission(request)
        shared["list_url"] = self.page("changelist") if may_list else ""
        context = {**self.admin_site.each_context(request), **shared, **context}
        page = TemplateResponse(request, f"admin/django_jobs/job/{name}.html", context)
        return self.with_warnings(request, page)

    def _run(self, request: HttpRequest, form: RunForm) -> bool:
        """Save the job of a valid form, and say so; when that cannot be, say why in the form."""
        form.job.created_by = request.user.get_username()[: Job._meta.get_field("created_by").max_length]
        try:
            with transaction.atomic(using=database()):
                enqueue.save([form.job])
                self.log_addition(request, form.job, gettext("Run by hand."))
        except (JobsError, TypeError) as error:  # a middleware of enqueueing may refuse it
            form.add_error(None, str(error))
            return False
        messages.success(request, gettext("Enqueued: %(call)s") % {"call": call_text(form.job)})
        return True

    def _page_after_run(self, request: HttpRequest, job: Job) -> str:
        """Return the page of the job, or for those who may not see it the one they came from."""
        may_see = self.has_view_or_change_permission(request, job)
        return self.page("change", job.pk) if may_see else self.page("add")
