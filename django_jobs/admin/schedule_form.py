"""The form of a schedule: whatever is typed, the answer names the mistake."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.utils.timezone import get_current_timezone_name
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import cron
from ..conf import jobs_settings
from ..exceptions import InvalidCron, InvalidTask, NotDecodable, TaskNotFound
from ..models import Schedule
from ..models.schedule import RULES
from ..tasks import Task, registry
from ..tasks.calls import known_task
from ..tasks.options import check_queue
from .arguments import ArgumentsField, Secrets
from .runnable import may_run, tasks_by_app
from .signature import PREFIX, argument_fields, call_of, initial_values
from .when import COLUMNS, KINDS, NEEDS, WEEKDAY_CHOICES, cron_of, kind_of, parts_of

UNITS = {
    "seconds": (timedelta(seconds=1), _("seconds")),
    "minutes": (timedelta(minutes=1), _("minutes")),
    "hours": (timedelta(hours=1), _("hours")),
    "days": (timedelta(days=1), _("days")),
}
UNIT_CHOICES = [(key, label) for key, (_one, label) in UNITS.items()]


class DurationWidget(forms.MultiWidget):
    """A number and a unit."""

    template_name = "admin/django_jobs/schedule/every.html"

    def __init__(self) -> None:
        number = forms.NumberInput(attrs={"class": "vIntegerField", "min": 0, "step": "any", "aria-label": _("Number")})
        super().__init__([number, forms.Select(attrs={"aria-label": _("Unit")}, choices=UNIT_CHOICES)])

    def decompress(self, value: timedelta | None) -> list[Any]:
        if not isinstance(value, timedelta):
            return [None, "minutes"]
        unit = next((key for key in reversed(UNITS) if value % UNITS[key][0] == timedelta(0)), "seconds")
        return [f"{Decimal(str(value / UNITS[unit][0])).normalize():f}", unit]


class DurationField(forms.MultiValueField):
    """An interval, as a timedelta."""

    widget = DurationWidget

    def __init__(self, **options: Any):
        number = forms.DecimalField(required=False, min_value=0, max_value=999_999, max_digits=9, decimal_places=3)
        unit = forms.ChoiceField(choices=UNIT_CHOICES)
        super().__init__((number, unit), required=False, require_all_fields=False, **options)

    def compress(self, data_list: list[Any]) -> timedelta | None:
        if not data_list or data_list[0] is None:
            return None
        number, unit = data_list
        return float(number) * UNITS[unit][0]


class MonthdaysField(forms.CharField):
    """Days of the month, as a list of numbers."""

    def to_python(self, value: Any) -> list[int]:
        texts = (super().to_python(value) or "").replace(",", " ").split()
        if not all(text.isdecimal() and len(text) <= 2 and 1 <= int(text) <= 31 for text in texts):
            raise ValidationError(_("Days of the month are numbers from 1 to 31, such as 1, 15."))
        return sorted({int(text) for text in texts})

    def run_validators(self, value: Any) -> None:
        """Take the list: the validators of a text mean nothing here."""


EDITED = [
    "name", "enabled", "task_path", "args", "kwargs", "cron", "every", "once_at", "timezone", "overlap",
    "after_downtime", "catch_up", "starts_at", "ends_at", "max_runs", "jitter", "queue_name", "priority",
]  # fmt: skip


class ScheduleForm(forms.ModelForm):
    """Everything about a schedule. What is posted decides by ``when`` and ``arguments_as`` which fields count."""

    user: Any = None  # set by the admin, for each request
    copied: Schedule | None = None  # likewise: what a new one is a duplicate of
    only_preview = False  # likewise: nothing is saved

    task_path = forms.ChoiceField(label=_("Task"))
    arguments_as = forms.ChoiceField(
        label=_("Arguments"),
        required=False,
        choices=[("fields", _("Fill in fields")), ("json", _("Write JSON"))],
        widget=forms.RadioSelect(attrs={"class": "dj-choice"}),
    )
    args = ArgumentsField(
        list, label=_("Positional arguments"), help_text=_('A JSON list, such as [1042, "EUR"]. Empty for none.')
    )
    kwargs = ArgumentsField(
        dict,
        label=_("Keyword arguments"),
        help_text=_('A JSON object, such as {"amount": 49.9}. What reads "hidden" is a secret; left alone, it stays.'),
    )
    when = forms.ChoiceField(label=_("Runs"), required=False, choices=KINDS)
    every = DurationField(label=_("Every"), help_text=_("Counted from the start, or else from the creation."))
    at = forms.TimeField(
        label=_("At"), required=False, widget=forms.TimeInput(format="%H:%M", attrs={"type": "time", "step": 60})
    )
    weekdays = forms.MultipleChoiceField(
        label=_("On these days"),
        required=False,
        choices=WEEKDAY_CHOICES,
        widget=forms.CheckboxSelectMultiple(attrs={"class": "dj-choice"}),
    )
    monthdays = MonthdaysField(
        label=_("On these days of the month"),
        required=False,
        help_text=_("Numbers such as 1, 15. A month without such a day is left out."),
    )
    jitter = DurationField(
        label=_("Jitter"), help_text=_("Each run starts up to so much later, by chance, so that not all come at once.")
    )

    class Meta:
        model = Schedule
        fields = EDITED
        labels = {
            "enabled": _("Switched on"),
            "cron": _("Cron expression"),
            "once_at": _("Day and time"),
            "timezone": _("Time zone"),
            "overlap": _("If the last run is still going"),
            "after_downtime": _("After downtime"),
            "catch_up": _("At most"),
            "starts_at": _("Not before"),
            "ends_at": _("Not after"),
            "max_runs": _("Number of runs"),
        }
        help_texts = {
            "cron": _("Minute, hour, day of month, month, day of week: 0 7 * * mon-fri. Or @hourly, @daily, @weekly."),
            "timezone": _("Of the times above. Empty for the site's own."),
            "after_downtime": _("For times at which no worker was there."),
            "catch_up": _("So many of them, the latest ones, if all are to run."),
            "max_runs": _("It is switched off after so many. Empty for no limit."),
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
        source = schedule or self.copied
        self.before = {name: _as_stored(schedule, name) for name in EDITED} if schedule else {}
        initial, self.secrets = _hidden_arguments(source) if source else ({}, None)
        self.stored_call = _stored_call(source) if source and not initial.keys() - {"args", "kwargs"} else None
        if source:
            initial |= {"when": kind_of(source), **parts_of(source)}
        options["initial"] = initial | (options.get("initial") or {})
        super().__init__(*args, **options)
        self._finish_fields(schedule.task_path if schedule else "")
        self._add_arguments(source)

    def _finish_fields(self, task_path: str) -> None:
        if "timezone" in self.fields:
            self.fields["timezone"].widget.attrs.setdefault("placeholder", settings.TIME_ZONE)
        for name in {"once_at", "starts_at", "ends_at"} & self.fields.keys():
            self.fields[name].help_text = gettext("In the time of %(zone)s.") % {"zone": get_current_timezone_name()}
            self._name_parts(name)
        for name in {"overlap", "after_downtime", "catch_up"} & self.fields.keys():
            self.fields[name].required = False  # left out: the model's default
        if "task_path" in self.fields:
            self.fields["task_path"].choices = task_choices(self.user, task_path)

    def _name_parts(self, name: str) -> None:
        """Let the boxes for day and time say what they are: Django's one label belongs to neither."""
        field = self.fields[name]
        if isinstance(field.widget, forms.MultiWidget):
            day, time = field.widget.widgets
            day.attrs["aria-label"] = gettext("%(field)s: day") % {"field": field.label}
            time.attrs["aria-label"] = gettext("%(field)s: time") % {"field": field.label}

    # Arguments

    def _add_arguments(self, source: Schedule | None) -> None:
        """Add a field for each argument of the task that is chosen."""
        self.arguments: dict[str, forms.Field] = {}
        self.initial.setdefault("arguments_as", "json" if source else "fields")
        self._task = self._chosen_task()  # not for templates: they call whatever can be called
        if self._task is None or "args" not in self.fields:
            return
        self.arguments = argument_fields(self._task)
        shown: dict[str, Any] | None = {}
        if source and source.task_path == self._task.module_path:
            shown = initial_values(self._task, *self.stored_call) if self.stored_call else None
        for name, field in self.arguments.items():
            self.fields[PREFIX + name] = field
            self.initial[PREFIX + name] = (shown or {}).get(name)
        self.initial["arguments_as"] = "json" if shown is None else "fields"

    def _chosen_task(self) -> Task | None:
        path = self.data.get("task_path") if self.is_bound else self.get_initial_for_field(_ANY, "task_path")
        task = known_task(path or getattr(self.instance, "task_path", "") or "")
        return task if task and may_run(self.user, task.module_path) else None

    @property
    def chosen_task(self) -> str:
        """The path of the task whose arguments are asked for; empty without one."""
        return self._task.module_path if self._task else ""

    @property
    def argument_fields(self) -> list[forms.BoundField]:
        return [self[PREFIX + name] for name in self.arguments]

    def _take_arguments(self, values: dict[str, Any]) -> None:
        """Make args and kwargs of the fields, or take the JSON; what does not count cannot be wrong."""
        if values.get("arguments_as") != "fields" or self._task is None:
            for name in self.arguments:
                self._errors.pop(PREFIX + name, None)
            return
        for name in ("args", "kwargs"):
            self._errors.pop(name, None)
        if any(PREFIX + name in self._errors for name in self.arguments):
            values.pop("args", None)
            return
        given = {name: values.get(PREFIX + name) for name in self.arguments}
        values["args"], values["kwargs"] = call_of(self._task, given)

    def _with_secrets(self, values: dict[str, Any]) -> None:
        """Put secrets back; a call that means what was stored is left as it was written."""
        if self.secrets is None:
            return
        secrets = self.secrets
        if values.get("arguments_as") == "fields" and self.stored_call and self._task is not None:
            secrets = by_field(self._task, secrets)
        call = secrets.restored(values["task_path"], values["args"], values["kwargs"])
        if self.stored_call and self._task is not None and _means_same(self._task, call, self.stored_call):
            call = self.stored_call
        values["args"], values["kwargs"] = call

    # Validation

    def is_valid(self) -> bool:
        """Say whether it can be saved; a preview has all its errors, and is not."""
        return super().is_valid() and not self.only_preview

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
        self._take_rule(values)
        self._take_arguments(values)
        if {"task_path", "args", "kwargs"} <= values.keys():
            try:
                self._with_secrets(values)
            except ValidationError as error:
                self.add_error(None, error)
            else:
                self._check_call(values)
        return values

    def _take_rule(self, values: dict[str, Any]) -> None:
        """Let the fields of the chosen kind say when, and forget the others."""
        kind = values.get("when")
        if not kind:
            return  # whatever is filled in says when
        needed = NEEDS[kind]
        for name in {"every", "at", "weekdays", "monthdays", "cron", "once_at"} - needed.keys():
            self._errors.pop(name, None)
        for name, missing in needed.items():
            if name not in self._errors and not values.get(name):
                self.add_error(name, ValidationError(missing, code="no_rule"))
        column = COLUMNS.get(kind, "cron")
        rule = values.get(column)
        if kind not in ("cron", *COLUMNS):
            rule = "" if needed.keys() & self._errors.keys() else self._kept(cron_of(kind, values))
        for name in RULES:
            values[name] = "" if name == "cron" else None
        if rule:
            values[column] = rule

    def _kept(self, expression: str) -> str:
        """Return an expression as it was written before, if it still means the same."""
        before = self.instance.cron
        try:
            return before if before and cron.is_same(before, expression) else expression
        except InvalidCron:
            return expression

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
        for name in (*RULES, "args", "kwargs"):  # a field that was not posted counts too
            if name in self.cleaned_data:
                setattr(self.instance, name, self.cleaned_data[name])
        super()._post_clean()
        rule_fields = {"every", "once_at", "at", "weekdays", "monthdays"}
        if self.errors.keys() & rule_fields and self.has_error("cron", "no_rule"):
            del self._errors["cron"]  # it was said, only not understood
        elif len(self.errors.get("cron", ())) > 1:
            self._errors["cron"] = self.error_class(self._errors["cron"].data[:1])


_ANY = forms.Field()


def _stored_call(schedule: Schedule) -> tuple[list[Any], dict[str, Any]] | None:
    try:
        return list(schedule.args), dict(schedule.kwargs)
    except (NotDecodable, TypeError, ValueError):
        return None


def _as_stored(schedule: Schedule, name: str) -> Any:
    return schedule.__dict__[name]  # damaged arguments can be compared too


def by_field(task: Task, secrets: Secrets) -> Secrets:
    """Return the secrets of the same call with its arguments by keyword, as the fields have them."""
    try:
        given = task.bind(secrets.args, secrets.kwargs).arguments
    except TypeError:
        return secrets
    return Secrets(secrets.task_path, *call_of(task, {name: _as_list(value) for name, value in given.items()}))


def _as_list(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _means_same(task: Task, one: tuple[list[Any], dict[str, Any]], other: tuple[list[Any], dict[str, Any]]) -> bool:
    try:
        return task.bind(*one).arguments == task.bind(*other).arguments
    except TypeError:
        return False


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
    groups = tasks_by_app(user, besides=current)
    shown = [(app, [(one.module_path, f"{one.name}{one.takes}") for one in tasks]) for app, tasks in groups]
    choices = [("", "---------"), *shown]
    if current and registry.find(current) is None:
        choices.append((current, gettext("%(task)s (not known here)") % {"task": current}))
    return choices
