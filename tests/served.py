"""How the suite's site is served: under a strict Content Security Policy, and at the moment that a test sets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import datetime

from django.http import HttpRequest, HttpResponse

from django_jobs.models import frozen_clock

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
_moment: datetime | None = None


@contextlib.contextmanager
def served_at(moment: datetime) -> Iterator[None]:
    """Let the database's clock stand still at a moment, for whatever thread serves a page."""
    global _moment
    _moment = moment
    try:
        yield
    finally:
        _moment = None


def strictly(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware that adds the policy to each answer without one."""

    def respond(request: HttpRequest) -> HttpResponse:
        with frozen_clock(_moment) if _moment else contextlib.nullcontext():
            response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return respond
