"""The form of a schedule: whatever is typed, the answer names the mistake."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from ..conf import jobs_settings
from ..exceptions import InvalidTask, NotDecodable, TaskNotFound
from ..models import Schedule
from ..models.schedule import RULES
from ..tasks import Task, registry
from ..tasks.options import check_queue
from .arguments import ArgumentsField, Secrets

UNITS = {
    "seconds": (timedelta(seconds=1), _("seconds")),
    "minutes": (timedelta(minutes=1), _("minutes")),
    "hours": (timedelta(hours=1), _("hours")),
    "days": (timedelta(days=1), _("days")),
}
UNIT_CHOICES = [(key, label) for key, (_one, label) in UNITS.items()]


def may_run(user: Any, task_path: str) -> bool:
    """Say whether the user may run or schedule the task: superusers any, others those declared for the admin."""
    if user.is_superuser:
        return True
    try:
        allowed = registry.get(task_path).admin
    except TaskNotFound:
        return False
    return user.has_perm(allowed) if isinstance(allowed, str) else allowed


class EveryWidget(forms.MultiWidget):
    """A number and a unit."""

    template_name = "admin/django_jobs/schedule/every.html"

    def __init__(self) -> None:
        number = forms.NumberInput(attrs={"class": "vIntegerField", "min": 0, "step": "any", "aria-label": _("Every")})
        super().__init__([number, forms.Select(attrs={"aria-label": _("Unit")}, choices=UNIT_CHOICES)])

    def decompress(self, value: timedelta | None) -> list[Any]:
        if not isinstance(value, timedelta):
            return [None, "minutes"]
        unit = next((key for key in reversed(UNITS) if value % UNITS[key][0] == timedelta(0)), "seconds")
        return [f"{Decimal(str(value / UNITS[unit][0])).normalize():f}", unit]


class EveryField(forms.MultiValueField):
    """An interval, as a timedelta."""

    widget = EveryWidget

    def __init__(self, **options: Any):
        number = forms.DecimalField(required=False, min_value=0, max_value=999_999, max_digits=9, decimal_places=3)
        unit = forms.ChoiceField(choices=UNIT_CHOICES)
        super().__init__((number, unit), required=False, require_all_fields=False, **options)

    def compress(self, data_list: list[Any]) -> timedelta | None:
        if not data_list or data_list[0] is None:
            return None
        number, unit = data_list
        return float(number) * UNITS[unit][0]


class ScheduleForm(forms.ModelForm):
    user: Any = None  # set by the admin, for each request

    task_path = forms.ChoiceField(label=_("Task"))
    args = ArgumentsField(
        list, label=_("Positional arguments"), help_text=_('A JSON list, such as [1042, "EUR"]. Empty for none.')
    )
    kwargs = ArgumentsField(
        dict,
        label=_("Keyword arguments"),
        help_text=_('A JSON object, such as {"amount": 49.9}. What reads "hidden" is a secret; left alone, it stays.'),
    )
    every = EveryField(label=_("Interval"), help_text=_("Counted from the start, or else from the creation."))

    class Meta:
        model = Schedule
        fields = [
            "name", "enabled", "task_path", "args", "kwargs", "cron", "every", "once_at", "timezone",
            "starts_at", "ends_at", "queue_name", "priority",
        ]  # fmt: skip
        labels = {
            "cron": _("Cron expression"),
            "once_at": _("One moment"),
            "timezone": _("Time zone"),
            "starts_at": _("Not before"),
            "ends_at": _("Not after"),
        }
        help_texts = {
            "cron": _("Minute, hour, day of month, month, day of week: 0 7 * * mon-fri. Or @hourly, @daily, @weekly."),
            "timezone": _("In which cron is read. Empty for the site's own."),
            "queue_name": _("Empty for the task's own."),
            "priority": _("From -100 to 100, the higher the sooner. Empty for the task's own."),
        }
        widgets = {
            "cron": forms.TextInput(attrs={"class": "vTextField dj-code", "spellcheck": "false"}),
            "timezone": forms.TextInput(attrs={"class": "vTextField", "list": "dj-zones", "autocomplete": "off"}),
            "queue_name": forms.TextInput(attrs={"class": "vTextField", "list": "dj-queues", "autocomplete": "off"}),
        }

    def __init__(self, *args: Any, **options: Any):
        schedule = options.get("instance")
        initial, self.secrets = _hidden_arguments(schedule) if schedule else ({}, None)
        options["initial"] = initial | (options.get("initial") or {})
        super().__init__(*args, **options)
        if "timezone" in self.fields:
            self.fields["timezone"].widget.attrs.setdefault("placeholder", settings.TIME_ZONE)
        for name in {"once_at", "starts_at", "ends_at"} & self.fields.keys():
            self.fields[name].help_text = gettext("In the time of %(zone)s.") % {"zone": get_current_timezone_name()}
        if "task_path" in self.fields:
            self.fields["task_path"].choices = task_choices(self.user, schedule.task_path if schedule else "")

    def clean_queue_name(self) -> str:
        name = self.cleaned_data["queue_name"]
        if name:
            try:
                check_queue(name, jobs_settings.served_queues)
            except InvalidTask as error:
                raise ValidationError(str(error)) from None
        return name

    def clean(self) -> dict[str, Any]:
        values = super().clean()
        if {"task_path", "args", "kwargs"} <= values.keys():
            if self.secrets:
                restored = self.secrets.restored(values["task_path"], values["args"], values["kwargs"])
                values["args"], values["kwargs"] = restored
            self._check_call(values)
        return values

    def _check_call(self, values: dict[str, Any]) -> None:
        path = values["task_path"]
        if not may_run(self.user, path):
            self.add_error("task_path", gettext("You may not schedule this task."))
            return
        try:
            check_arguments(registry.get(path), values["args"], values["kwargs"])
        except TaskNotFound as error:
            if values.get("enabled"):  # it can be disabled all the same
                self.add_error("task_path", str(error))
        except ValidationError as error:
            self.add_error(None, error)

    def _post_clean(self) -> None:
        super()._post_clean()
        if self.errors.keys() & set(RULES) - {"cron"} and self.has_error("cron", "no_rule"):
            del self._errors["cron"]  # it was said, only not understood


def check_arguments(task: Task, args: list[Any], kwargs: dict[str, Any]) -> None:
    """Raise ValidationError, at the field that can mend it, when the function does not take the arguments."""
    try:
        task.bind(args, kwargs)
    except TypeError as error:
        field = "kwargs" if "unexpected argument" in str(error) or kwargs else "args"
        raise ValidationError({field: str(error)}) from None


def _hidden_arguments(schedule: Schedule) -> tuple[dict[str, Any], Secrets | None]:
    """Return what the form shows of the arguments; damaged ones as they are stored, to be mended."""
    damaged = {}
    for name, empty in (("args", []), ("kwargs", {})):
        try:
            getattr(schedule, name)
        except NotDecodable:
            damaged[name] = str(schedule.__dict__[name])
            setattr(schedule, name, empty)
    if damaged or not isinstance(schedule.args, list | tuple) or not isinstance(schedule.kwargs, dict):
        return damaged, None
    secrets = Secrets(schedule.task_path, list(schedule.args), schedule.kwargs)
    return {"args": secrets.hidden_args, "kwargs": secrets.hidden_kwargs}, secrets


def task_choices(user: Any, current: str) -> list[Any]:
    """Return the tasks that the user may schedule, grouped by app, and the one that is set now."""
    groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
    known = registry.all_tasks()
    for path, task in known.items():
        if path == current or may_run(user, path):
            groups[_app_name(path)].append((path, f"{task.name}{task.takes}"))
    choices = [("", "---------"), *sorted(groups.items())]
    if current and current not in known:
        choices.append((current, gettext("%(task)s (not known here)") % {"task": current}))
    return choices


def _app_name(path: str) -> str:
    config = apps.get_containing_app_config(path)
    return str(config.verbose_name) if config else path.rpartition(".")[0]
