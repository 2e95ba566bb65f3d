"""One page: buttons that enqueue jobs and answer at once, and what came of them."""

import time
from functools import wraps

from django.conf import settings
from django.contrib import messages
from django.core.files import File
from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.template.loader import render_to_string
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST

from django_jobs import states
from django_jobs.models import Job, Schedule

from . import inputs, tasks
from .forms import UploadForm
from .models import Airport, Import, Page, Photo, Postcard, Report

UNFINISHED = (*states.WAITING, states.RUNNING)
RECENT_JOBS = 15
FAILED_JOBS = 5

# Parts of the page that live.js brings up to date: each a template of its own.
REGIONS = {
    "airports": lambda: {"airports": Airport.objects.count(), "latest": latest_import()},
    "photos": lambda: {
        "photos": list(Photo.objects.all()),
        "done": Photo.objects.exclude(thumbnail="").count(),
    },
    "postcards": lambda: {
        "postcards": Postcard.objects.count(),
        "sent": Postcard.objects.filter(sent_at__isnull=False).count(),
        "received": received(),
    },
    "pages": lambda: {"pages": list(Page.objects.all()), "fetched": Page.objects.filter(status=200).count()},
    "report": lambda: {"report": Report.objects.order_by("-pk").first(), "schedule": schedule()},
    "jobs": lambda: {
        "failed": Job.objects.filter(state=states.FAILED).order_by("-id")[:FAILED_JOBS],
        "recent": Job.objects.order_by("-id")[:RECENT_JOBS],
    },
}


@require_GET
def home(request):
    return render(
        request,
        "atlas/home.html",
        {name: region(request, name) for name in REGIONS}
        | {"form": UploadForm(), "busy": Job.objects.filter(state__in=UNFINISHED).exists()},
    )


@require_GET
def status(request):
    """Return the regions of the page as they are now."""
    return JsonResponse({name: region(request, name) for name in REGIONS})


def region(request, name: str) -> str:
    return render_to_string(f"atlas/_{name}.html", REGIONS[name](), request)


def latest_import() -> dict | None:
    """Return the newest import with its job, None if the job was pruned."""
    newest = Import.objects.order_by("-pk").first()
    return newest and {"file": newest, "job": Job.objects.filter(pk=newest.job_id).first()}


def received() -> int:
    """Return how many mails the SMTP server of the demo has put in its mailbox."""
    return sum(1 for _mail in settings.MAILBOX.glob("new/*"))


def schedule() -> Schedule | None:
    return Schedule.objects.filter(task_path=tasks.write_report.module_path, enabled=True).first()


# The buttons


def button(view):
    """Make a view a button: it enqueues, says what and how long that took, and goes back to the page."""

    @wraps(view)
    def press(request):
        start = time.perf_counter()
        asked_for = view(request)
        milliseconds = (time.perf_counter() - start) * 1000
        if asked_for:
            messages.success(request, f"{asked_for}. Enqueued in {milliseconds:.0f} ms.")
        return redirect("atlas:home")

    return require_POST(press)


@require_POST
def import_csv(request):
    """Import the uploaded file, or else the sample, and show how that goes."""
    if "sample" in request.POST:
        with inputs.sample_csv().open("rb") as file:
            return redirect(enqueue_import(File(file, name="airports.csv")))
    form = UploadForm(request.POST, request.FILES)
    if form.is_valid():
        return redirect(enqueue_import(form.cleaned_data["file"]))
    messages.error(request, " ".join(form.errors["file"]))
    return redirect("atlas:home")


@transaction.atomic
def enqueue_import(file: File) -> Import:
    """Save the file and its job together: there is never one without the other."""
    source = Import.objects.create(name=file.name, file=file)
    source.job_id = tasks.import_airports.about(source).enqueue(source.pk).pk
    source.save(update_fields=["job_id"])
    return source


@require_GET
def import_page(request, pk):
    """Show an import; who watches it go is led back to the atlas at its end."""
    file = get_object_or_404(Import, pk=pk)
    job = Job.objects.filter(pk=file.job_id).first()
    goes = job is not None and not job.is_finished
    return render(
        request, "atlas/import.html", {"file": file, "job": job, "next": reverse("atlas:home") if goes else ""}
    )


@button
def make_thumbnails(request):
    task = tasks.make_thumbnail
    jobs = task.enqueue_many(task.about(photo).s(photo.pk) for photo in Photo.objects.all())
    return f"{len(jobs)} thumbnails"


@button
@transaction.atomic
def send_postcards(request):
    """Save the postcards and their jobs together."""
    postcards = Postcard.objects.bulk_create(
        Postcard(photo=photo, recipient=f"reader-{photo.pk}@atlas.example") for photo in Photo.objects.all()
    )
    task = tasks.send_postcard
    jobs = task.enqueue_many(task.about(postcard, postcard.photo).s(postcard.pk) for postcard in postcards)
    return f"{len(jobs)} postcards"


@button
def fetch_pages(request):
    task = tasks.fetch_page
    jobs = task.enqueue_many(task.about(page).s(page.code) for page in Page.objects.all())
    return f"{len(jobs)} pages"


@button
def write_report(request):
    tasks.write_report.enqueue()
    return "A report"
