"""A call's arguments as JSON that people edit, with secrets kept out of the page."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import zip_longest
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import codec
from ..exceptions import NotDecodable
from ..tasks.calls import HIDDEN, argument_names, known_task, masked
from ..tasks.sensitive import secrecy

IsSecret = Callable[[str], bool]


class ArgumentsField(forms.CharField):
    """A list or a dict as JSON, in the encoding that jobs are kept in."""

    def __init__(self, kind: type, **options: Any):
        super().__init__(required=False, strip=True, **options)
        self.kind = kind
        self.widget.attrs.update({"rows": 3, "class": "vLargeTextField dj-code", "spellcheck": "false"})

    widget = forms.Textarea

    def to_python(self, value: Any) -> Any:
        text = super().to_python(value)
        if not text:
            return self.kind()
        try:
            found = codec.loads(text)
        except NotDecodable as error:
            raise not_json(error, _EXAMPLES[self.kind]) from None
        if not isinstance(found, self.kind):
            raise ValidationError(_WANTED[self.kind], params={"found": _kind_of(found)})
        return found

    def prepare_value(self, value: Any) -> str:
        return value if isinstance(value, str) else in_json(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return self.to_python(data) != self.to_python(self.prepare_value(initial))
        except ValidationError:
            return True


_EXAMPLES = {list: '[1, "two"]', dict: '{"amount": 49.9}'}
_WANTED = {
    list: _('This must be a JSON list, such as [1, "two"]; it is %(found)s.'),
    dict: _('This must be a JSON object, such as {"amount": 49.9}; it is %(found)s.'),
}


def not_json(error: NotDecodable, example: Any) -> ValidationError:
    """Return the refusal of a text that is not JSON: where it goes wrong, and what right would be."""
    if not isinstance(error.__cause__, json.JSONDecodeError):
        return ValidationError(_("This is not JSON: %(error)s"), params={"error": error})
    return ValidationError(
        _("This is not JSON, from character %(place)s on. Write it like %(example)s."),
        params={"place": error.__cause__.pos + 1, "example": example},
    )


def _kind_of(value: Any) -> str:
    match value:
        case list():
            return gettext("a list")
        case dict():
            return gettext("an object")
        case str():
            return gettext("a text")
        case bool() | None:
            return gettext("the word %(word)s") % {"word": codec.dumps(value)}
    return gettext("a number") if isinstance(value, int | float) else gettext("a single value")


def in_json(value: Any) -> str:
    """Return a value as JSON that is good to read; empty for no arguments."""
    if not value:
        return ""
    text = codec.dumps(value)
    try:
        readable = json.dumps(json.loads(text), ensure_ascii=False, indent=2 if len(text) > 60 else None)
        readable.encode()  # half of a surrogate pair cannot be sent
    except (ValueError, RecursionError):
        return text
    return readable


class Secrets:
    """Hides the secrets of one call in a form, and puts them back when they were left alone."""

    def __init__(self, task_path: str, args: list[Any], kwargs: dict[str, Any]):
        task = known_task(task_path)
        self.task_path = task_path
        self.is_secret: IsSecret = secrecy(task)
        self.names = argument_names(task, len(args))
        self.args, self.kwargs = args, kwargs

    @property
    def hidden_args(self) -> list[Any]:
        return [
            HIDDEN if self.is_secret(name) else masked(value, self.is_secret, HIDDEN)
            for name, value in zip(self.names, self.args, strict=True)
        ]

    @property
    def hidden_kwargs(self) -> dict[str, Any]:
        return masked(self.kwargs, self.is_secret, HIDDEN)

    def restored(self, task_path: str, args: list[Any], kwargs: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """Return the arguments with what was hidden in its place.

        Raises ValidationError when the task is another one, whose page might show what this one hides.
        """
        if task_path != self.task_path:
            if self.hidden_args != self.args or self.hidden_kwargs != self.kwargs:
                self._refuse_leftovers(args, kwargs)
            return args, kwargs
        positional = [
            old if self._was_left(name, new) else _restored(new, old, self.is_secret)
            for new, old, name in zip_longest(args, self.args[: len(args)], self.names[: len(args)])
        ]
        return positional, _restored(kwargs, self.kwargs, self.is_secret)

    def _was_left(self, name: str | None, new: Any) -> bool:
        return name is not None and new == HIDDEN and self.is_secret(name)

    def _refuse_leftovers(self, args: list[Any], kwargs: dict[str, Any]) -> None:
        for name, values in (("args", args), ("kwargs", kwargs)):
            if f'"{HIDDEN}"' in codec.dumps(values):
                text = gettext("For another task, write what is hidden anew.")
                raise ValidationError({name: text})


def _restored(new: Any, old: Any, is_secret: IsSecret) -> Any:
    match new, old:
        case dict(), dict():
            kept = {key for key in new if new[key] == HIDDEN and key in old and is_secret(key)}
            return {
                key: old[key] if key in kept else _restored(item, old.get(key), is_secret) for key, item in new.items()
            }
        case list(), list():
            return [_restored(item, before, is_secret) for item, before in zip_longest(new, old[: len(new)])]
    return new
