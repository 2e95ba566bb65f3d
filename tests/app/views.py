"""A page with a job's progress, under a strict Content Security Policy."""

from django.http import HttpResponse
from django.template import Context, RequestContext, Template

from django_jobs.models import Job

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'"
)
PAGE = """<!doctype html><html lang="en"><meta name="viewport" content="width=device-width"><title>A job</title>
<link rel="stylesheet" href="/static/app/page.css"><script src="/static/app/events.js"></script>
{% load django_jobs %}<main><h1>Your import</h1>{% job_progress job label="Import" OPTIONS %}</main></html>"""


def page(request, id):
    """Show a job, with the options of the tag that the query names, such as ``?options=cancel=True``."""
    template = Template(PAGE.replace("OPTIONS", request.GET.get("options", "")))
    response = HttpResponse(template.render(RequestContext(request, {"job": Job.objects.get(pk=id)})))
    response["Content-Security-Policy"] = POLICY
    return response


def thanks(request):
    return HttpResponse(Template("<h1>Thank you</h1>").render(Context()))
