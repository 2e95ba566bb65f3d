"""One job's state for the holder of its address: as JSON, as a stream of events, and the button to cancel it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

from django.core.handlers.asgi import ASGIRequest
from django.core.serializers.json import DjangoJSONEncoder
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse, StreamingHttpResponse
from django.utils import translation
from django.utils.cache import add_never_cache_headers
from django.utils.http import url_has_allowed_host_and_scheme
from django.utils.translation import gettext
from django.views.decorators.csrf import csrf_protect
from django.views.decorators.http import require_GET, require_POST

from . import enqueue
from .models import Job
from .public import Pass, job_of, shown

LOOK_SECONDS = 1.0  # between looks at the row for a stream
STREAM_SECONDS = 300.0  # after which a browser asks for a new stream
NOT_FOUND = "There is no such job, or this address is no longer valid."


@require_GET
def job(request: HttpRequest, token: str) -> HttpResponse:
    """Return the job's state as JSON."""
    one = _pass(token, getattr(request, "user", None))
    return _json(shown(_found(job_of(one).first()), one))


@require_POST
@csrf_protect
def cancel(request: HttpRequest, token: str) -> HttpResponse:
    """Cancel the job, and return to the page that was left, or the state to a script."""
    one = _pass(token, getattr(request, "user", None))
    if not one.may_cancel:
        raise Http404(NOT_FOUND)
    enqueue.cancel(one.job, reason=_by(request))
    if request.accepts("text/html"):
        return HttpResponseRedirect(_back(request))
    return _json(shown(_found(job_of(one).first()), one))


@require_GET
async def events(request: HttpRequest, token: str) -> HttpResponse:
    """Stream the job's state, each time it changes, until it has ended; only under ASGI.

    Under WSGI a stream would keep a thread of the server busy: 404, and the page asks by itself.
    """
    if not isinstance(request, ASGIRequest):
        raise Http404("Events are streamed under ASGI only.")
    one = _pass(token, await request.auser() if hasattr(request, "auser") else None)
    _found(await job_of(one).afirst())
    response = StreamingHttpResponse(_changes(one, translation.get_language()), content_type="text/event-stream")
    response["X-Accel-Buffering"] = "no"  # nginx would keep the events to itself
    add_never_cache_headers(response)
    return response


async def _changes(one: Pass, language: str | None) -> AsyncIterator[str]:
    said, end = "", time.monotonic() + STREAM_SECONDS
    while time.monotonic() < end:
        found = await job_of(one).afirst()
        if found is None:
            break
        with translation.override(language):
            news = json.dumps(shown(found, one), cls=DjangoJSONEncoder)
        yield f"data: {news}\n\n" if news != said else ": still here\n\n"  # a proxy cuts what is silent
        if found.is_finished:
            break
        said = news
        await asyncio.sleep(LOOK_SECONDS)


def _pass(token: str, user: Any) -> Pass:
    """Return the pass of a token, or raise Http404 when it is wrong, too old, or another user's."""
    one = Pass.of(token)
    if one is None or not one.is_for(user):
        raise Http404(NOT_FOUND)
    return one


def _found(job: Job | None) -> Job:
    if job is None:
        raise Http404(NOT_FOUND)
    return job


def _json(found: dict[str, Any]) -> JsonResponse:
    response = JsonResponse(found)
    add_never_cache_headers(response)
    return response


def _by(request: HttpRequest) -> str:
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return gettext("cancelled on a page")
    return gettext("cancelled by %(user)s") % {"user": user.get_username()}


def _back(request: HttpRequest) -> str:
    """Return the page that was left, if it is one of this site."""
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_ours else "/"
