"""How the suite's site is served: under a strict Content Security Policy, and at the moment that a test sets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from datetime import datetime

from django.http import HttpRequest, HttpResponse

from django_jobs.models import frozen_clock

POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'"
MOMENT = "DJANGO_JOBS_TEST_SERVED_AT"  # in the environment, so that servers of their own are told, too

View = Callable[[HttpRequest], HttpResponse]


@contextlib.contextmanager
def served_at(moment: datetime) -> Iterator[None]:
    """Let the database's clock stand still at a moment, for whatever serves a page."""
    os.environ[MOMENT] = moment.isoformat()
    try:
        yield
    finally:
        del os.environ[MOMENT]


def at_a_moment(get_response: View) -> View:
    """Middleware that answers as of the moment that is set, if one is."""

    def respond(request: HttpRequest) -> HttpResponse:
        moment = os.environ.get(MOMENT)
        with frozen_clock(datetime.fromisoformat(moment)) if moment else contextlib.nullcontext():
            return get_response(request)

    return respond


def strictly(get_response: View) -> View:
    """Middleware that adds the policy to each answer without one."""

    def respond(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return respond
