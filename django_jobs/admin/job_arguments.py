"""The page on which a job is given other arguments: a form from the task's signature, secrets left where they are."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import enqueue, states
from ..exceptions import JobsError, NotDecodable
from ..models import Attempt, EncodedText, Job
from ..tasks import Task
from ..tasks.calls import call_text, known_task
from .arguments import ArgumentsField, Secrets
from .job_acts import copy_of
from .schedule_form import by_field, check_arguments, may_run
from .signature import argument_fields, call_of, initial_values

RETRY, AGAIN = "retry", "again"
PREFIX = "arg"


class CallForm(forms.Form):
    """A field for each argument of the task; JSON for a call that fields cannot show."""

    def __init__(self, task: Task, args: list[Any], kwargs: dict[str, Any], data: Any = None):
        super().__init__(data, prefix=PREFIX)
        self._task, self._stored = task, (args, kwargs)
        self._secrets = Secrets(task.module_path, args, kwargs)
        shown = initial_values(task, args, kwargs)
        self.is_json = shown is None
        if shown is None:
            self.fields["args"] = ArgumentsField(list, label=_("Positional arguments"))
            self.fields["kwargs"] = ArgumentsField(dict, label=_("Keyword arguments"))
            shown = {"args": self._secrets.hidden_args, "kwargs": self._secrets.hidden_kwargs}
        else:
            self.fields.update(argument_fields(task))
            self._secrets = by_field(task, self._secrets)
        self.initial = shown

    def clean(self) -> dict[str, Any]:
        """Put secrets back in their places, and check the call as enqueueing does."""
        values = super().clean()
        if self.errors:
            return values
        call = (values["args"], values["kwargs"]) if self.is_json else call_of(self._task, values)
        args, kwargs = self._secrets.restored(self._task.module_path, *call)
        try:
            check_arguments(self._task, args, kwargs)
            self.prepared = self._task.prepare(tuple(args), kwargs)
        except ValidationError as error:
            raise ValidationError(error.messages) from None
        except (JobsError, TypeError) as error:
            raise ValidationError(str(error)) from None
        self.changed_names = _changed(self._task, self._stored, (args, kwargs))
        return values

    @property
    def call(self) -> tuple[EncodedText, EncodedText]:
        """The arguments as they are stored."""
        return self.prepared.__dict__["args"], self.prepared.__dict__["kwargs"]


class JobArguments:
    """For the ModelAdmin of jobs."""

    def arguments_view(self, request: HttpRequest, object_id: str) -> HttpResponse:
        if not self.may_change(request):
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        if not self.may_change_arguments(request, job):
            raise PermissionDenied
        found = stored_call(job)
        if found is None or not job.is_finished:
            self.say(request, 0, "", gettext("The arguments of this job cannot be changed now."))
            return HttpResponseRedirect(self.page("change", job.pk))
        form = CallForm(*found, data=request.POST if request.method == "POST" else None)
        if form.is_valid():
            return self._take_arguments(request, job, form)
        return self._show_form(request, job, form)

    def may_change_arguments(self, request: HttpRequest, job: Job) -> bool:
        """Say whether the user may run the job's task with whatever arguments."""
        return self.may_change(request) and may_run(request.user, job.task_path)

    def _take_arguments(self, request: HttpRequest, job: Job, form: CallForm) -> HttpResponse:
        if request.POST.get("how") == AGAIN or not keeps_arguments(job):
            args, kwargs = form.call
            new = copy_of(job, by=request.user.get_username(), args=args, kwargs=kwargs)
            enqueue.save([new])
            return self.show_copy(request, job, new)
        count = enqueue.retry_with(job, *form.call)
        names = ", ".join(form.changed_names) or gettext("none")
        act = gettext("Retried with changed arguments: %(names)s.") % {"names": names}
        self.log_act(request, [job] * count, act)
        self.say(request, count, gettext("Queued again with these arguments."), gettext("It is not failed any more."))
        return HttpResponseRedirect(self.page("change", job.pk))

    def _show_form(self, request: HttpRequest, job: Job, form: CallForm) -> HttpResponse:
        request.current_app = self.admin_site.name
        call = call_text(job)
        page = {
            **self.admin_site.each_context(request),
            "title": gettext("Arguments of %(call)s") % {"call": call},
            "call": call,
            "opts": self.opts,
            "media": self.media,
            "form": form,
            "job_url": self.page("change", job.pk),
            "may_retry": keeps_arguments(job),
        }
        return self.with_warnings(request, TemplateResponse(request, "admin/django_jobs/job/arguments.html", page))


def _changed(task: Task, before: tuple[list[Any], dict[str, Any]], now: tuple[list[Any], dict[str, Any]]) -> list[str]:
    """Return the names of the arguments that differ; their values may be secret."""
    new = task.bind(*now).arguments
    try:
        old = task.bind(*before).arguments
    except TypeError:  # the task has been changed since
        return list(new)
    return [name for name in {**old, **new} if (name in old, old.get(name)) != (name in new, new.get(name))]


def keeps_arguments(job: Job) -> bool:
    """Say whether the job's attempts are on record, so that each can keep the arguments it was made with."""
    return job.state == states.FAILED and Attempt.objects.filter(job=job.pk).exists()


def stored_call(job: Job) -> tuple[Task, list[Any], dict[str, Any]] | None:
    """Return the job's task and arguments; None where they cannot be read, or the task is not known here."""
    task = known_task(job.task_path)
    try:
        args, kwargs = job.args, job.kwargs
    except NotDecodable:
        return None
    if task is None or not isinstance(args, list | tuple) or not isinstance(kwargs, dict):
        return None
    return task, list(args), kwargs
