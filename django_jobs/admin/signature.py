"""A form field for each argument of a task, from its signature and type hints, and the way back to a call."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import codec
from ..exceptions import NotDecodable, NotEncodable
from ..tasks import Task
from ..tasks.calls import HIDDEN, masked
from ..tasks.sensitive import secrecy
from .arguments import ArgumentsField, in_json, not_json

PREFIX = "arg-"  # of the names of the fields in a form
OMITTED = object()  # the field was left empty: the function's own default is used
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: list, inspect.Parameter.VAR_KEYWORD: dict}


def argument_fields(task: Task, *, typed_anew: bool = False) -> dict[str, forms.Field]:
    """Return a form field for each parameter of the task, by its name; ``typed_anew``: no secret is stored yet."""
    is_secret, hints = secrecy(task), _hints(task)
    return {
        name: _field(parameter, hints.get(name, parameter.empty), is_secret(name), typed_anew)
        for name, parameter in task.signature.parameters.items()
    }


def call_of(task: Task, values: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Return positional and keyword arguments from the fields' cleaned values; by keyword where that is possible."""
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    rest = values.get(_name_of(task, inspect.Parameter.VAR_POSITIONAL)) or []
    for name, parameter in task.signature.parameters.items():
        value = values.get(name, OMITTED)
        positional = parameter.kind is parameter.POSITIONAL_ONLY or (
            rest and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
        )
        if parameter.kind in _VARIADIC:
            continue
        if value is not OMITTED:
            if positional:
                args.append(value)
            else:
                kwargs[name] = value
        elif positional:
            args.append(parameter.default)
    more = values.get(_name_of(task, inspect.Parameter.VAR_KEYWORD)) or {}
    for name in kwargs.keys() & more.keys():
        raise ValidationError(gettext("%(name)s is given twice.") % {"name": name})
    return [*args, *rest], kwargs | more


def initial_values(task: Task, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the initial values of the fields for a call, secrets hidden; None when they cannot show it."""
    try:
        given = task.bind(args, kwargs).arguments
        is_secret, shown = secrecy(task), {}
        for name, field in argument_fields(task).items():
            if name not in given:
                continue
            value = HIDDEN if is_secret(name) else masked(_plain(given[name]), is_secret, HIDDEN)
            if field.clean(_typed(field, field.prepare_value(value))) != value:
                return None
            shown[name] = value
    except (TypeError, ValueError, ValidationError, NotEncodable):
        return None
    return shown


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _typed(field: forms.Field, shown: Any) -> Any:
    """Return what a browser would post of a value that a field shows."""
    return str(shown) if isinstance(shown, int | float | Decimal) and not isinstance(shown, bool) else shown


def _name_of(task: Task, kind: Any) -> str | None:
    return next((name for name, one in task.signature.parameters.items() if one.kind is kind), None)


def _hints(task: Task) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inspect.unwrap(task.func))
    except Exception:  # names that exist for type checkers only
        return {}


def _field(parameter: inspect.Parameter, hint: Any, is_secret: bool, typed_anew: bool) -> forms.Field:
    if parameter.kind in _VARIADIC:
        kind = _VARIADIC[parameter.kind]
        example = '[1, "two"]' if kind is list else '{"amount": 49.9}'
        wanted = gettext("Further arguments, as JSON such as %(example)s.") % {"example": example}
        return ArgumentsField(kind, label=str(parameter), help_text=wanted)
    has_default = parameter.default is not parameter.empty
    kind, may_be_none = _without_none(hint, parameter)
    field = _by_type(kind)
    if is_secret and typed_anew:
        field.widget = forms.PasswordInput(attrs={"class": "vTextField", "autocomplete": "new-password"})
    elif is_secret:
        field = SecretField(field)
    wrapped = ArgumentField(field, has_default=has_default, may_be_none=may_be_none)
    wrapped.label = parameter.name
    wrapped.help_text = _help(parameter, kind, is_secret, typed_anew)
    return wrapped


def _help(parameter: inspect.Parameter, kind: Any, is_secret: bool, typed_anew: bool) -> str:
    about = [gettext("As JSON, such as 42 or [1, 2].")] if kind not in _FIELDS and not _choices(kind) else []
    if kind is timedelta:
        about.append(gettext("Hours:minutes:seconds."))
    if is_secret and typed_anew:
        about.append(gettext("A secret: it is shown nowhere."))
    elif is_secret:
        about.append(gettext("A secret: what reads “hidden” stays as it is."))
    elif parameter.default is not parameter.empty:
        about.append(gettext("Empty: %(default)s.") % {"default": repr(parameter.default)[:80]})
    return " ".join(about)


def _without_none(hint: Any, parameter: inspect.Parameter) -> tuple[Any, bool]:
    """Return the type that is asked for, and whether None is one of its values."""
    if hint is parameter.empty or hint is Any:
        given = parameter.default
        return (type(given), False) if type(given) in _FIELDS else (Any, given is None)
    if typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        others = [one for one in typing.get_args(hint) if one is not type(None)]
        return (others[0] if len(others) == 1 else Any), len(others) < len(typing.get_args(hint))
    return hint, False


def _by_type(kind: Any) -> forms.Field:
    choices = _choices(kind)
    if choices:
        return ChosenField(choices)
    return _FIELDS[kind]() if kind in _FIELDS else AnyField()


def _choices(kind: Any) -> dict[str, Any]:
    """Return the few values that a type allows, by what is shown of them."""
    if kind is bool:
        return {str(_("yes")): True, str(_("no")): False}
    if typing.get_origin(kind) is typing.Literal:
        return {str(value): value for value in typing.get_args(kind)}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return {member.name: member.value for member in kind}
    return {}


class AnyField(forms.CharField):
    """Any value that a job can carry, as JSON."""

    widget = forms.TextInput

    def __init__(self) -> None:
        super().__init__(required=False)
        self.widget.attrs.update({"class": "vTextField dj-code", "spellcheck": "false"})

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return None
        try:
            return codec.loads(text)
        except NotDecodable as error:
            raise not_json(error, _('42, "text" or [1, 2]')) from None

    def prepare_value(self, value: Any) -> Any:
        return value if value is None or (isinstance(value, str) and value == HIDDEN) else codec_text(value)

    def run_validators(self, value: Any) -> None:
        """Take any value: those of a text mean nothing here."""


def codec_text(value: Any) -> str:
    return in_json(value) or codec.dumps(value)


class ChosenField(forms.TypedChoiceField):
    """One of few values."""

    def __init__(self, choices: dict[str, Any]):
        self._values = choices
        pairs = [(shown, shown) for shown in choices]
        super().__init__(required=False, empty_value=None, choices=[("", "---------"), *pairs], coerce=choices.get)

    def prepare_value(self, value: Any) -> Any:
        return next((shown for shown, one in self._values.items() if one is value or one == value), value)


class SecretField(forms.Field):
    """A value that is not shown; left as "hidden", it stays what it is."""

    def __init__(self, inner: forms.Field):
        super().__init__(required=False)
        self.inner = inner
        self.widget.attrs.update({"class": "vTextField", "autocomplete": "off", "spellcheck": "false"})

    def clean(self, value: Any) -> Any:
        return HIDDEN if value == HIDDEN else self.inner.clean(value)


class ArgumentField(forms.Field):
    """Another field, whose emptiness means that the argument is not given."""

    def __init__(self, inner: forms.Field, *, has_default: bool, may_be_none: bool):
        super().__init__(required=not (has_default or may_be_none), widget=inner.widget)
        inner.required = False
        self.inner = inner
        self.has_default = has_default

    def clean(self, value: Any) -> Any:
        if value in (None, ""):
            if self.required:
                raise ValidationError(self.error_messages["required"], code="required")
            return OMITTED if self.has_default else None
        return self.inner.clean(value)

    def prepare_value(self, value: Any) -> Any:
        return value if value == HIDDEN else self.inner.prepare_value(value)


def _input(kind: str, **attributes: str) -> dict[str, str]:
    return {"type": kind, **attributes}


_FIELDS: dict[Any, Callable[[], forms.Field]] = {
    str: lambda: forms.CharField(strip=False, widget=forms.TextInput(attrs={"class": "vTextField"})),
    int: lambda: forms.IntegerField(widget=forms.NumberInput(attrs={"class": "vIntegerField", "step": "1"})),
    float: lambda: forms.FloatField(widget=forms.NumberInput(attrs={"class": "vIntegerField", "step": "any"})),
    bool: lambda: ChosenField(_choices(bool)),
    Decimal: lambda: forms.DecimalField(widget=forms.TextInput(attrs={"class": "vIntegerField"})),
    UUID: lambda: forms.UUIDField(widget=forms.TextInput(attrs={"class": "vTextField"})),
    date: lambda: forms.DateField(widget=forms.DateInput(format="%Y-%m-%d", attrs=_input("date"))),
    time: lambda: forms.TimeField(widget=forms.TimeInput(format="%H:%M:%S", attrs=_input("time", step="1"))),
    datetime: lambda: forms.DateTimeField(
        widget=forms.DateTimeInput(format="%Y-%m-%dT%H:%M:%S", attrs=_input("datetime-local", step="1"))
    ),
    timedelta: lambda: forms.DurationField(widget=forms.TextInput(attrs={"class": "vIntegerField"})),
}
