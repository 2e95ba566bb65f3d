"""Twins of Django's own two backends that take the options of django_jobs, so that settings may swap them."""

from __future__ import annotations

from . import framework
from .jobs import TakesOptions


class ImmediateBackend(TakesOptions, framework.ImmediateBackend):
    """Runs each task at once, in ``enqueue()``: no rows, no worker, no retries."""


class DummyBackend(TakesOptions, framework.DummyBackend):
    """Keeps what is enqueued in ``results`` and runs nothing."""
