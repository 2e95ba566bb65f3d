"""What a job offers and models cannot do: put here by rooms above when the apps are ready."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

follow: Callable[..., Any]  # (job, call) -> Job; by ``following``, which knows tasks
wait: Callable[..., Any]  # (job, timeout) -> Job; by ``waiting``, which knows Redis
wait_async: Callable[..., Any]  # the same, to be awaited
