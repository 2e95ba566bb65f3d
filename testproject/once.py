"""The work of the demo site, once: who presses the buttons, when it is done, and what was done."""

import time
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar

from atlas import inputs, tasks
from atlas.models import Airport, Import, Page, Photo, Postcard, Report
from atlas.views import received
from django.db.models import Count, F, Sum

from django_jobs import states
from django_jobs.models import Attempt, Job

BUTTONS = {
    "Import the sample": ("airports/", {"sample": "1"}),
    "Make thumbnails": ("thumbnails/", {}),
    "Send postcards": ("postcards/", {}),
    "Fetch pages": ("pages/", {}),
}
NO_SUCH_PAGE = "TXL"


def press_buttons(url: str) -> None:
    visitor = Visitor(url)
    for name, (path, fields) in BUTTONS.items():
        print(f"Pressed {name!r}: answered in {visitor.press(path, fields) * 1000:.0f} ms")


class Visitor:
    """Somebody with a browser, but without JavaScript."""

    def __init__(self, url: str):
        self.url = url
        self.cookies = CookieJar()
        self.browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies), StayHere)
        self.browser.open(url, timeout=30).close()

    def press(self, path: str, fields: dict[str, str]) -> float:
        """Press a button; return the seconds until the answer, which must be a redirect."""
        token = next(cookie.value for cookie in self.cookies if cookie.name == "csrftoken")
        body = urllib.parse.urlencode(fields | {"csrfmiddlewaretoken": token}).encode()
        start = time.monotonic()
        with self.browser.open(self.url + path, body, timeout=30) as answer:
            if answer.status != 302:
                raise RuntimeError(f"{path} answered {answer.status}")
        return time.monotonic() - start


class StayHere(urllib.request.HTTPRedirectHandler):
    def http_error_302(self, request, response, code, message, headers):
        return response


# What counts as done


def is_done() -> bool:
    return not jobs().exclude(state__in=states.FINAL).exists() and is_reported()


def is_reported() -> bool:
    """Tell whether a report has seen all the airports, and is not the only one."""
    newest = Report.objects.order_by("-pk").first()
    return bool(newest) and newest.total == Airport.objects.count() and Report.objects.count() >= 2


def jobs():
    """Return all jobs but the schedule's, of which there is always a next one."""
    return Job.objects.exclude(task_path=tasks.write_report.module_path)


# What was done


@dataclass(frozen=True, kw_only=True)
class Line:
    """A line of the summary."""

    what: str
    done: int
    wanted: int
    note: str = ""
    at_least: bool = False

    @property
    def is_good(self) -> bool:
        return self.done >= self.wanted if self.at_least else self.done == self.wanted

    @property
    def reason(self) -> str:
        return f"{self.what}: {self.done:,} instead of {self.wanted:,}"


def summary() -> list[Line]:
    return [
        airports(),
        thumbnails(),
        postcards(),
        mails(),
        pages(),
        failed_as_it_should(),
        reports(),
        succeeded(),
    ]


def airports() -> Line:
    skipped = Import.objects.latest("pk").skipped
    countries = Airport.objects.values("country").distinct().count()
    return Line(
        what="airports imported",
        done=Airport.objects.count(),
        wanted=tasks.count_rows(inputs.sample_csv()),
        note=f"{countries} countries; {skipped or 0} lines skipped",
    )


def thumbnails() -> Line:
    made = Photo.objects.exclude(thumbnail="")
    before, after = (sum(getattr(photo, field).size for photo in made) for field in ("file", "thumbnail"))
    return Line(
        what="thumbnails made",
        done=made.count(),
        wanted=Photo.objects.count(),
        note=f"{before / 1e6:.1f} MB of photographs became {after / 1e6:.1f} MB",
    )


def postcards() -> Line:
    sent = Postcard.objects.filter(sent_at__isnull=False).count()
    return Line(what="postcards sent", done=sent, wanted=Photo.objects.count())


def mails() -> Line:
    return Line(
        what="mails received",
        done=received(),
        wanted=Photo.objects.count(),
        note="by the SMTP server, in its mailbox",
    )


def pages() -> Line:
    repeated = Job.objects.filter(task_path=tasks.fetch_page.module_path, attempt__gt=1)
    again = repeated.aggregate(again=Sum(F("attempt") - 1, default=0))["again"]
    return Line(
        what="pages fetched",
        done=Page.objects.filter(status=200).count(),
        wanted=Page.objects.count() - 1,
        note=f"{again} times tried again after 503",
    )


def failed_as_it_should() -> Line:
    """Count the failed jobs whose only error is that the page does not exist."""
    failed = Job.objects.filter(state=states.FAILED, attempt=1, task_path=tasks.fetch_page.module_path)
    errors = Attempt.objects.filter(job__in=failed, exception_class__endswith="NoSuchPage")
    return Line(
        what="failed as it should",
        done=errors.filter(message__contains=f"/{NO_SUCH_PAGE} ").count(),
        wanted=1,
        note=f"the page of {NO_SUCH_PAGE} does not exist (404)",
    )


def reports() -> Line:
    newest = Report.objects.order_by("-pk").first()
    seen = f"; the newest counts {newest.total:,} airports in {len(newest.regions)} regions" if newest else ""
    return Line(
        what="reports written",
        done=Report.objects.count(),
        wanted=2,
        note=f"by a schedule{seen}",
        at_least=True,
    )


def succeeded() -> Line:
    counts = jobs().values_list("state").annotate(Count("pk")).order_by("-pk__count")
    return Line(
        what="jobs succeeded",
        done=jobs().filter(state=states.SUCCEEDED).count(),
        wanted=1 + 2 * Photo.objects.count() + Page.objects.count() - 1,
        note="besides reports: " + ", ".join(f"{count} {state}" for state, count in counts),
    )


def print_table(lines: list[Line], seconds: float) -> None:
    print(f"\nDone in {seconds:.1f} s, by the database:\n")
    for line in lines:
        mark = "ok" if line.is_good else "--"
        wanted = f">= {line.wanted:,}" if line.at_least else f"of {line.wanted:,}"
        print(f"  {mark}  {line.what:<20}{line.done:>7,} {wanted:<10} {line.note}")
    print()
