"""The class that our Task extends: Django's own where Django has one, its twin on Django 5.2."""

from __future__ import annotations

from typing import TYPE_CHECKING

import django

if django.VERSION >= (6, 0) and not TYPE_CHECKING:  # type checkers read the twin: Django's says nothing of types
    from django.tasks import Task as BaseTask
else:
    from collections.abc import Callable
    from dataclasses import dataclass
    from datetime import datetime
    from typing import Any

    @dataclass(frozen=True, kw_only=True)
    class BaseTask:
        """The fields of django.tasks.Task."""

        func: Callable[..., Any]
        priority: int = 0
        backend: str = "default"
        queue_name: str = "default"
        run_after: datetime | None = None
        takes_context: bool = False

        @property
        def name(self) -> str:
            return self.func.__name__

        @property
        def module_path(self) -> str:
            return f"{self.func.__module__}.{self.func.__qualname__}"


__all__ = ["BaseTask"]
