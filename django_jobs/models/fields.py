"""Columns and expressions that the models are made of, the same on every database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime
from typing import Any

from django.db import models
from django.db.models.query_utils import DeferredAttribute
from django.utils.timezone import is_naive

from .. import codec
from ..codec import EncodedText


class EncodedAttribute(DeferredAttribute):
    """Decodes at the first look, so that one damaged row does not spoil the reading of others."""

    def __get__(self, instance: models.Model | None, cls: type | None = None) -> Any:
        if instance is None:
            return self
        name = self.field.attname
        if name not in instance.__dict__:
            return super().__get__(instance, cls)
        value = instance.__dict__[name]
        if type(value) is EncodedText:
            value = instance.__dict__[name] = codec.loads(value)
        return value

    def __set__(self, instance: models.Model, value: Any) -> None:
        instance.__dict__[self.field.attname] = value


class EncodedField(models.TextField):
    """A Python value, kept as ASCII JSON of our encoding (see ``codec``)."""

    descriptor_class = EncodedAttribute

    def from_db_value(self, value: str | None, expression: Any, connection: Any) -> EncodedText | None:
        return None if value is None else EncodedText(value)

    def get_prep_value(self, value: Any) -> Any:
        if value is None or isinstance(value, EncodedText) or hasattr(value, "resolve_expression"):
            return value
        return codec.dumps(value)

    def pre_save(self, instance: models.Model, add: bool) -> Any:
        return instance.__dict__.get(self.attname)  # an encoded text goes back as it came

    def to_python(self, value: Any) -> Any:
        return value

    def value_to_string(self, instance: models.Model) -> str:
        return codec.dumps(self.value_from_object(instance))


_frozen: ContextVar[datetime | None] = ContextVar("django_jobs_frozen", default=None)


@contextmanager
def frozen_clock(moment: datetime) -> Iterator[None]:
    """Let the database's clock stand still at a moment, for what this context asks of it; for tests."""
    if is_naive(moment):
        raise ValueError(f"{moment!r} has no time zone; pass an aware datetime.")
    token = _frozen.set(moment)
    try:
        yield
    finally:
        _frozen.reset(token)


def frozen_at() -> datetime | None:
    """Return the moment at which the clock stands still; None: it goes on."""
    return _frozen.get()


class DbNow(models.Func):
    """The database's clock at the start of the statement: one clock for all machines."""

    template = "CURRENT_TIMESTAMP"
    allowed_default = True

    def __init__(self) -> None:
        super().__init__(output_field=models.DateTimeField())

    def as_sql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        if (moment := frozen_at()) is not None:
            return compiler.compile(models.Value(moment, output_field=self.output_field))
        return super().as_sql(compiler, connection, **context)

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="STATEMENT_TIMESTAMP()", **context)

    def as_mysql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        return self.as_sql(compiler, connection, template="UTC_TIMESTAMP(6)", **context)

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        # Moments are compared as texts there: with six digits, as Django writes them, or one that is a prefix of
        # another would count as earlier.
        template = "(STRFTIME('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%f', 'NOW') || '000')"
        return self.as_sql(compiler, connection, template=template, **context)


class PartialIndex(models.Index):
    """An index of the rows that fulfil ``where``; of all rows where the database has no partial ones."""

    def __init__(self, *expressions: Any, where: models.Q, **options: Any):
        super().__init__(*expressions, **options)
        self.where = where

    def create_sql(self, model: Any, schema_editor: Any, using: str = "", **options: Any) -> Any:
        if not schema_editor.connection.features.supports_partial_indexes:
            return super().create_sql(model, schema_editor, using, **options)
        partial = models.Index(*self.expressions, fields=self.fields_with_order, name=self.name, condition=self.where)
        return partial.create_sql(model, schema_editor, using, **options)

    @property
    def fields_with_order(self) -> list[str]:
        return [f"-{name}" if order else name for name, order in self.fields_orders]

    def deconstruct(self) -> tuple:
        path, args, kwargs = super().deconstruct()
        return path, args, kwargs | {"where": self.where}
