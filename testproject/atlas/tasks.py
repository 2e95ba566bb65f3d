"""The background jobs of the atlas."""

import asyncio
import csv
import io
import urllib.error
import urllib.request
from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path

from django.conf import settings
from django.core.files.base import ContentFile
from django.core.mail import EmailMessage
from django.db.models import Count
from django.utils import timezone
from PIL import Image, ImageOps

from django_jobs import Discard, TaskContext, task

from .models import Airport, Import, Page, Photo, Postcard, Report

ROWS_AT_A_TIME = 1000
THUMBNAIL_SIZE = (360, 240)  # pixels
COLUMNS = {"icao", "iata", "name", "city", "country", "tz", "lat", "lon", "elevation"}


# A long job with progress


@task(timeout=600, takes_context=True)
def import_airports(context: TaskContext, import_id: int) -> dict:
    """Read a CSV file into airports. Doing it again, wholly or from the middle, changes nothing."""
    source = Import.objects.get(pk=import_id)
    path = Path(source.file.path)
    total = count_rows(path)
    rows = skipped = 0
    for lines in chunks(csv_rows(path), ROWS_AT_A_TIME):
        airports = [airport for airport in map(as_airport, lines) if airport]
        save_airports(airports)
        rows += len(airports)
        skipped += len(lines) - len(airports)
        context.progress(rows + skipped, total, f"{rows:,} airports of {source.name}")
    context.log(f"{rows:,} airports read from {source.name}, {skipped:,} lines skipped")
    Import.objects.filter(pk=import_id).update(rows=rows, skipped=skipped)
    return {"rows": rows, "skipped": skipped}


def count_rows(path: Path) -> int:
    return sum(1 for _row in csv_rows(path))


def csv_rows(path: Path) -> Iterator[dict]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file)


def chunks(rows: Iterator[dict], size: int) -> Iterator[list[dict]]:
    while chunk := list(islice(rows, size)):
        yield chunk


def as_airport(row: dict) -> Airport | None:
    """Return the airport that a line describes, or None if it describes none."""
    try:
        return Airport(
            icao=row["icao"][:8],
            iata=row["iata"][:3],
            name=row["name"][:200],
            city=row["city"][:100],
            country=row["country"][:2],
            region=row["tz"].partition("/")[0] or "unknown",
            timezone=row["tz"][:50],
            latitude=float(row["lat"]),
            longitude=float(row["lon"]),
            elevation=float(row["elevation"]),
        )
    except (TypeError, ValueError):  # a line too short, or a number that is none
        return None


def save_airports(airports: list[Airport]) -> None:
    unique = {airport.icao: airport for airport in airports}  # PostgreSQL refuses one twice in a statement
    Airport.objects.bulk_create(
        unique.values(),
        update_conflicts=True,
        unique_fields=["icao"],
        update_fields=[field.name for field in Airport._meta.fields if not field.primary_key],
    )


# Many small jobs


@task(queue_name="images", timeout=30)
def make_thumbnail(photo_id: int) -> int:
    """Write the photograph's thumbnail and return its size in bytes."""
    photo = Photo.objects.get(pk=photo_id)
    thumbnail = small_jpeg(Path(photo.file.path))
    photo.thumbnail.save(f"{photo.pk}.jpg", ContentFile(thumbnail), save=False)
    photo.save(update_fields=["thumbnail"])
    return len(thumbnail)


def small_jpeg(path: Path) -> bytes:
    with Image.open(path) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB")
        small = ImageOps.fit(upright, THUMBNAIL_SIZE, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=82, optimize=True)
    return buffer.getvalue()


# Mail, tried again while the mail server is away


@task(queue_name="mail", priority=10, max_attempts=5, backoff=[1, 5, 30, 120], timeout=30, retry_on=(OSError,))
def send_postcard(postcard_id: int) -> None:
    """Send a postcard. All errors of smtplib are OSErrors."""
    postcard = Postcard.objects.select_related("photo").get(pk=postcard_id)
    if postcard.sent_at:  # the worker died after it had sent, before it could say so
        raise Discard(f"sent at {postcard.sent_at:%H:%M:%S} already")
    compose(postcard).send()
    postcard.sent_at = timezone.now()
    postcard.save(update_fields=["sent_at"])


def compose(postcard: Postcard) -> EmailMessage:
    message = EmailMessage(
        subject=f"Greetings from {postcard.photo}",
        body="The weather is fine, and nobody waits for a web page to send mail.",
        to=[postcard.recipient],
        # Always the same, so that a mailbox can tell a second copy from a second postcard.
        headers={"Message-ID": f"<postcard-{postcard.pk}@atlas.example>"},
    )
    message.attach_file(postcard.photo.file.path, "image/jpeg")
    return message


# Another's web site, which is sometimes busy


class PartnerBusy(Exception):
    """The partner cannot answer at the moment."""


class NoSuchPage(Exception):
    """The partner has no such page; asking again would not help."""


@task(queue_name="web", max_attempts=5, backoff=[1, 1, 2, 4], timeout=20, retry_on=(PartnerBusy,))
async def fetch_page(code: str) -> str:
    """Fetch the partner's page about an airport and return its title."""
    page = await Page.objects.aget(pk=code)
    page.status, html = await asyncio.to_thread(download, f"{settings.PARTNER_URL}/airports/{code}")
    page.title, page.size, page.fetched_at = title_of(html), len(html), timezone.now()
    await page.asave()
    match page.status:
        case 200:
            return page.title
        case 404 | 410:
            raise NoSuchPage(f"{settings.PARTNER_URL}/airports/{code} answered {page.status}")
        case _:
            raise PartnerBusy(f"the partner answered {page.status}")


def download(url: str) -> tuple[int, str]:
    """Return the status and the text of a page; raise PartnerBusy if there is no answer."""
    try:
        with urllib.request.urlopen(url, timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError as error:
        raise PartnerBusy(str(error)) from error


def title_of(html: str) -> str:
    parser = TitleParser()
    parser.feed(html)
    return parser.title.strip()[:200]


class TitleParser(HTMLParser):
    """Collects the text of <title>."""

    def __init__(self):
        super().__init__()
        self.title = ""
        self.inside = False

    def handle_starttag(self, tag, attrs):
        self.inside = tag == "title"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        if self.inside:
            self.title += data


# A periodic job; its schedule is a row, made by inputs.py and edited in the admin


@task
def write_report() -> int:
    """Count the airports of each region, and return the report's number."""
    regions = dict(Airport.objects.values_list("region").annotate(Count("pk")).order_by("region"))
    return Report.objects.create(total=sum(regions.values()), regions=regions).pk
