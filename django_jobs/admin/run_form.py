"""The form that runs one task: its arguments by name and type, and when and where to run it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..exceptions import InvalidTask, JobsError
from ..models import Job
from ..tasks import Task
from ..tasks.options import LONGEST, MAX_PRIORITY, MIN_PRIORITY
from .signature import PREFIX, argument_fields, call_of

OPTIONS = ("queue_name", "priority", "run_after")  # in place of the task's own


class RunForm(forms.Form):
    """Arguments and options of one job; ``job`` is what they come to, checked as at any enqueueing."""

    queue_name = forms.CharField(
        label=_("Queue"),
        required=False,
        widget=forms.TextInput(attrs={"class": "vTextField", "list": "dj-queues", "autocomplete": "off"}),
    )
    priority = forms.IntegerField(
        label=_("Priority"),
        required=False,
        min_value=MIN_PRIORITY,
        max_value=MAX_PRIORITY,
        widget=forms.NumberInput(attrs={"class": "vIntegerField"}),
        help_text=_("From -100 to 100, the higher the sooner."),
    )
    run_after = forms.DateTimeField(
        label=_("Not before"),
        required=False,
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs={"type": "datetime-local", "step": "1"}),
    )

    def __init__(self, task: Task, **options: Any):
        super().__init__(**options)
        self._task = task  # not for templates: they call whatever can be called
        self._names = list(arguments := argument_fields(task, typed_anew=True))
        self.fields |= {PREFIX + name: field for name, field in arguments.items()}
        self.job: Job | None = None
        self.fields["queue_name"].widget.attrs["placeholder"] = task.queue_name
        self.fields["priority"].widget.attrs["placeholder"] = str(task.priority)
        zone = {"zone": get_current_timezone_name()}
        self.fields["run_after"].help_text = gettext("In the time of %(zone)s. Empty: at once.") % zone

    @property
    def argument_fields(self) -> list[forms.BoundField]:
        return [self[PREFIX + name] for name in self._names]

    @property
    def option_fields(self) -> list[forms.BoundField]:
        return [self[name] for name in OPTIONS]

    @property
    def shows_options(self) -> bool:
        """Whether one has written something there, or is to."""
        return self.is_bound and any(field.errors or field.data for field in self.option_fields)

    def clean_queue_name(self) -> str:
        name = self.cleaned_data["queue_name"]
        if name:
            try:
                self._task.using(queue_name=name)._check_queue()
            except InvalidTask as error:
                raise ValidationError(str(error)) from None
        return name

    def clean_run_after(self) -> datetime | None:
        moment = self.cleaned_data["run_after"]
        if moment is None:
            return None
        now = timezone.now()
        if moment < now:
            raise ValidationError(_("This moment is past. Leave it empty to run the task at once."))
        if moment > now + LONGEST:
            raise ValidationError(_("Nobody will be there so late."))
        return moment

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        if not self.errors:
            args, kwargs = call_of(self._task, {name: values[PREFIX + name] for name in self._names})
            given = {name: values[name] for name in OPTIONS if values[name] not in (None, "")}
            try:
                self.job = self._task.using(**given).prepare(tuple(args), kwargs)
            except (JobsError, TypeError) as error:
                self.add_error(None, str(error))
        return values
