"""The last runs of schedules as squares, and how long a run takes: few queries for a whole list."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

from django.db.models import OuterRef, Q, Subquery
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from .. import states
from ..models import Job, Schedule, ScheduleRun
from . import words

SHOWN = 10
SIGNS = {
    states.SUCCEEDED: "✓",
    states.FAILED: "✗",
    states.CANCELLED: "–",
    states.RUNNING: "▸",
    ScheduleRun.Kind.SKIPPED: "»",
    ScheduleRun.Kind.MISSED: "!",
    "pruned": "·",
}
WAITING_SIGN = "…"


@dataclass(frozen=True, kw_only=True)
class Run:
    """One of the last runs: its moment, and the job if there is one still."""

    due_at: datetime
    kind: str
    job: Job | None

    @property
    def state(self) -> str:
        if self.kind in (ScheduleRun.Kind.SKIPPED, ScheduleRun.Kind.MISSED):
            return self.kind
        return self.job.state if self.job else "pruned"

    @property
    def said(self) -> str:
        match self.state:
            case "pruned":
                return gettext("the job is kept no longer")
            case ScheduleRun.Kind.SKIPPED | ScheduleRun.Kind.MISSED:
                return str(ScheduleRun.Kind(self.kind).label)
        return f"{self.job.get_state_display()} {words.took(self.job.duration)}".strip()


def last_runs(schedules: Sequence[Schedule]) -> dict[int, list[Run]]:
    """Return the last runs of each schedule, oldest first; three queries for all of them."""
    runs = _last_rows(schedules)
    jobs = Job.objects.only("state", "started_at", "finished_at").in_bulk([run.job for run in runs if run.job])
    found: dict[int, list[Run]] = defaultdict(list)
    for run in runs:
        found[run.schedule_id].append(Run(due_at=run.due_at, kind=run.kind, job=jobs.get(run.job)))
    return found


def _last_rows(schedules: Sequence[Schedule]) -> list[ScheduleRun]:
    """Read from the index of (schedule, due moment), never more than is shown."""
    rows = ScheduleRun.objects.filter(schedule=OuterRef("pk")).order_by("-due_at")
    edge = Subquery(rows.values("due_at")[SHOWN - 1 : SHOWN])
    edges = Schedule.objects.filter(pk__in=[one.pk for one in schedules]).annotate(edge=edge)
    wanted = Q(pk__in=[])
    for pk, due_at in edges.values_list("pk", "edge"):
        wanted |= Q(schedule=pk, due_at__gte=due_at) if due_at else Q(schedule=pk)
    return list(ScheduleRun.objects.filter(wanted).order_by("due_at")) if wanted else []


def typical_duration(runs: Sequence[Run]) -> timedelta | None:
    """Return the median of those runs that succeeded."""
    durations = [run.job.duration for run in runs if run.job and run.job.state == states.SUCCEEDED and run.job.duration]
    return median(durations) if durations else None


def squares(runs: Sequence[Run], link: Any, now: datetime) -> SafeString:
    """Return the runs as squares, each a link to its job where ``link(id)`` gives one."""
    if not runs:
        return format_html('<span class="dj-quiet">{}</span>', _("no run yet"))
    drawn = format_html_join("", "<li>{}</li>", ((_square(run, link, now),) for run in runs))
    return format_html('<ol class="dj-runs" aria-label="{}">{}</ol>', _("last runs, the latest at the end"), drawn)


def _square(run: Run, link: Any, now: datetime) -> SafeString:
    about = f"{words.exact(run.due_at)}: {run.said}"
    sign = SIGNS.get(run.state, WAITING_SIGN)
    address = link(run.job.pk) if run.job else None
    if address:
        return format_html(
            '<a class="dj-run dj-run-{}" href="{}" title="{}" aria-label="{}">{}</a>',
            run.state, address, about, about, sign,
        )  # fmt: skip
    return format_html('<span class="dj-run dj-run-{}" role="img" title="{}" aria-label="{}">{}</span>',
                       run.state, about, about, sign)  # fmt: skip
