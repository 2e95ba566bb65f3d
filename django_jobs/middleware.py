"""Wrappers around enqueueing and executing, for tenants, tracing and the like.

An entry of MIDDLEWARE is a class, made once per process without arguments. Both methods are optional and
return a context manager: ``enqueue(job)`` around the saving of a new job, when ``job.context`` and
``job.metadata`` may still be changed, and ``execute(context)`` around its body, sync or async.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import lru_cache
from typing import Any

from django.utils.module_loading import import_string

from .conf import jobs_settings

_unwrapped = nullcontext()


def wrapped(method: str, subject: Any) -> AbstractContextManager[None]:
    """Enter every middleware's ``method`` with the subject, the first outermost."""
    return _wrapped(method, subject) if jobs_settings.MIDDLEWARE else _unwrapped


@contextmanager
def _wrapped(method: str, subject: Any) -> Iterator[None]:
    with ExitStack() as stack:
        for wrapper in wrappers(method, tuple(jobs_settings.MIDDLEWARE)):
            stack.enter_context(_manager(wrapper, subject))
        yield


def _manager(wrapper: Any, subject: Any) -> Any:
    manager = wrapper(subject)
    if not hasattr(manager, "__enter__"):
        raise TypeError(
            f"{wrapper.__qualname__}, named in MIDDLEWARE, returned {type(manager).__name__}; it must return a "
            "context manager: decorate it with contextlib.contextmanager and let it yield."
        )
    return manager


@lru_cache(maxsize=16)
def wrappers(method: str, paths: tuple[str, ...]) -> list[Any]:
    """Return the bound methods of that name, in the order of the setting."""
    return [getattr(one, method) for one in _instances(paths) if hasattr(one, method)]


@lru_cache(maxsize=8)
def _instances(paths: tuple[str, ...]) -> list[Any]:
    return [import_string(path)() for path in paths]
