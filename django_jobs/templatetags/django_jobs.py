"""``{% job_progress job %}``: how far a job is, on any page."""

from __future__ import annotations

from typing import Any

from django import template
from django.template import Context

from ..models import Job
from ..public import ANYBODY, EXPIRES, Pass, address, holder, shown

register = template.Library()


@register.inclusion_tag("django_jobs/job_progress.html", takes_context=True)
def job_progress(
    context: Context,
    job: Job | None,
    *,
    label: str = "",
    bind: bool = False,
    cancel: bool = False,
    result: bool = False,
    stream: bool = False,
    redirect: str = "",
    expires: float = EXPIRES,
) -> dict[str, Any]:
    """Show how far a job is, and keep that up to date; None shows nothing.

    ``label`` says what for. ``bind``: only this visitor may ask. ``cancel``: with a button. ``result``: scripts of the
    page get what the job returned. ``stream``: by server-sent events, under ASGI. ``redirect``: where to go when it
    has succeeded. ``expires``: the seconds for which the page may ask.
    """
    if not job:
        return {}
    request = context.get("request")
    user = holder(getattr(request, "user", None)) if bind else ANYBODY
    one = Pass(job=job.pk, user=user, may_cancel=cancel, shows_result=result)
    token = one.token(expires)
    return {
        "shown": shown(job, one),
        "label": label,
        "url": address("job", token),
        "events_url": address("events", token) if stream else "",
        "cancel_url": address("cancel", token) if cancel else "",
        "redirect": redirect,
        "here": request.get_full_path() if request else "",
        "csrf_token": context.get("csrf_token"),
        "nonce": context.get("csp_nonce") or getattr(request, "csp_nonce", ""),
    }
