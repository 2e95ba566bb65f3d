"""Everything that the overview shows, read by six queries whatever the number of jobs."""

from __future__ import annotations

from collections import Counter as Sums
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import UUID

from django.db import connections, models
from django.db.models import Case, Count, F, Max, Min, OuterRef, Q, Subquery, Sum, When
from django.db.models.functions import Left, Length
from django.utils import timezone

from .. import states
from ..histogram import percentile
from ..models import Attempt, Counter, DbNow, Job, Queue, Schedule, Worker, database
from ..models.counter import HOUR
from ..tasks.calls import call_text
from .counts import CAP, capped_counts

DAY, CHART_MINUTES, SPARK_MINUTES = timedelta(days=1), 60, 30
MOST_ROWS = 100  # queues and workers
MOST_AT_HAND = 600  # jobs that run or were given back
MOST_RUNNING = 500  # jobs counted one by one
POSTPONED = timedelta(seconds=31)  # beyond the longest pause of a job that was given back
NEWEST_ATTEMPTS = 2000  # among which errors are grouped
MOST_ERRORS, MOST_SCHEDULES = 8, 5
SHORT = 1000  # characters of encoded arguments
TYPICAL = 0.5


class CappedCount(Subquery):
    """The number of rows, counted up to CAP."""

    template = "(SELECT COUNT(*) FROM (%(subquery)s) dj_counted)"
    output_field = models.IntegerField()

    def __init__(self, rows: models.QuerySet):
        super().__init__(rows.order_by().values("pk")[:CAP])


@dataclass(frozen=True, kw_only=True)
class ErrorGroup:
    """Attempts that failed in the same way."""

    fingerprint: str
    exception_class: str
    message: str
    task_path: str
    jobs: int  # that are failed now, and with this error
    first: datetime
    last: datetime

    @property
    def sentence(self) -> str:
        name = self.exception_class.rpartition(".")[2]
        return f"{name}: {self.message}" if self.message else name


@dataclass(kw_only=True)
class QueueFigures:
    """One queue: what waits, and what became of its jobs lately."""

    queue: Queue
    waiting: int
    oldest: datetime | None
    running: int = 0
    waits: Sums[int] = field(default_factory=Sums)  # histograms of the last hour
    runs: Sums[int] = field(default_factory=Sums)
    minutes: Sums[int] = field(default_factory=Sums)  # attempts that ended, by minutes ago

    @property
    def typical_wait(self) -> float | None:
        return percentile(self.waits, TYPICAL)

    @property
    def typical_run(self) -> float | None:
        return percentile(self.runs, TYPICAL)


class Glance:
    """What is the case now. Every query is made once, when it is first needed."""

    @cached_property
    def now(self) -> datetime:
        """The database's clock, as read along with the workers or queues."""
        return next((row.now for row in [*self.workers, *self.queue_rows]), None) or timezone.now()

    @cached_property
    def workers(self) -> list[Worker]:
        """Those that are alive, and for a day those that are gone."""
        shown = Worker.objects.filter(stopped_at__isnull=True, beat_at__gt=DbNow() - DAY)
        return list(shown.annotate(now=DbNow()).order_by("-started_at")[:MOST_ROWS])

    @cached_property
    def alive(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.lost_at is None and worker.alive_until > self.now]

    # Jobs at hand

    @cached_property
    def _at_hand(self) -> list[Job]:
        """What runs, and what workers gave back just now because they could not run it."""
        columns = {name: Case(When(**{f"{name}_length__lte": SHORT}, then=F(name))) for name in ("args", "kwargs")}
        jobs = Job.objects.alias(args_length=Length("args"), kwargs_length=Length("kwargs"))
        jobs = jobs.annotate(**{f"short_{name}": value for name, value in columns.items()})
        names = ("pk", "state", "task_path", "queue_name", "worker", "reason", "short_args", "short_kwargs")
        running = jobs.filter(state=states.RUNNING).order_by().values_list(*names)
        back = jobs.filter(state=states.SCHEDULED, run_after__lt=DbNow() + POSTPONED).exclude(reason="")
        # One limit for both: not every database allows one in each part. What runs comes first.
        both = running.union(back.order_by().values_list(*names), all=True)[:MOST_AT_HAND]
        return [_job(*row) for row in both]

    @cached_property
    def running(self) -> list[Job]:
        return [job for job in self._at_hand if job.state == states.RUNNING]

    @cached_property
    def given_back(self) -> dict[str, list[Job]]:
        """Jobs by task that workers do not know, or not with such arguments."""
        found = defaultdict(list)
        for job in self._at_hand:
            if job.state == states.SCHEDULED:
                found[job.task_path].append(job)
        return dict(found)

    def doing(self, worker: UUID) -> list[Job]:
        return [job for job in self.running if job.worker == worker]

    # Queues

    @cached_property
    def queue_rows(self) -> list[Queue]:
        waiting = Job.objects.filter(state=states.QUEUED, queue_name=OuterRef("name"))
        last_lane = Job.objects.filter(state=states.QUEUED, queue_name=OuterRef(OuterRef("name"))).order_by("priority")
        in_last = waiting.filter(priority=Subquery(last_lane.values("priority")[:1])).order_by("pk")
        rows = Queue.objects.annotate(
            now=DbNow(),
            waiting=CappedCount(waiting),
            # The oldest is at the head of the most urgent lane, or of the one that has to wait for all others.
            first=Subquery(waiting.order_by("-priority", "pk").values("enqueued_at")[:1]),
            last=Subquery(in_last.values("enqueued_at")[:1]),
            **{f"{name}_jobs": CappedCount(jobs) for name, jobs in _totals().items()},
        )
        return list(rows.order_by("name")[:MOST_ROWS])

    @cached_property
    def totals(self) -> dict[str, int]:
        """How many jobs there are in the states that the tiles show; asked along with the queues if there are any."""
        if not self.queue_rows:
            return capped_counts(_totals())
        return {name: getattr(self.queue_rows[0], f"{name}_jobs") for name in _totals()}

    @cached_property
    def queues(self) -> dict[str, QueueFigures]:
        found = {}
        for row in self.queue_rows:
            oldest = min((moment for moment in (row.first, row.last) if moment), default=None)
            found[row.name] = QueueFigures(queue=row, waiting=row.waiting, oldest=oldest)
        for job in self.running:
            if job.queue_name in found:
                found[job.queue_name].running += 1
        for since, seconds, name, kind, bucket, count in self._counters:
            if name not in found:
                continue
            if kind == Counter.Kind.WAIT:
                found[name].waits[bucket] += count
            elif kind == Counter.Kind.RUN:
                found[name].runs[bucket] += count
            elif seconds != HOUR:
                found[name].minutes[self._minutes_ago(since)] += count
        return found

    # Counters

    @cached_property
    def _counters(self) -> list[tuple[datetime | None, int, str, str, int, int]]:
        """Outcomes of the last day by their moment, and waiting and run times of the last hour as one."""
        is_outcome = Q(kind__in=Counter.OUTCOMES)
        shown = Counter.objects.filter(is_outcome | Q(since__gt=DbNow() - timedelta(hours=1)), since__gt=DbNow() - DAY)
        moment = Case(When(is_outcome, then=F("since")))
        summed = shown.values("queue_name", "kind", "bucket", "seconds", moment=moment).annotate(total=Sum("count"))
        return list(summed.values_list("moment", "seconds", "queue_name", "kind", "bucket", "total").order_by())

    def _minutes_ago(self, since: datetime) -> int:
        this_minute = self.now.replace(second=0, microsecond=0)
        return max(0, round((this_minute - since).total_seconds() / 60))

    def by_minute(self, *kinds: str) -> list[int]:
        """Return how many attempts ended so in each minute of the last hour, the oldest first."""
        sums: Sums[int] = Sums()
        for since, seconds, _name, kind, _bucket, count in self._counters:
            if kind in kinds and seconds != HOUR:
                sums[self._minutes_ago(since)] += count
        return [sums[ago] for ago in range(CHART_MINUTES - 1, -1, -1)]

    def of_a_day(self, *kinds: str) -> int:
        return sum(count for _since, _seconds, _name, kind, _bucket, count in self._counters if kind in kinds)

    @property
    def figures(self) -> tuple[float | None, float | None, float | None, float | None]:
        """Return the half and the 95th of a hundred of all waiting times and run times of the last hour, in seconds."""
        waits, runs = self._histogram(Counter.Kind.WAIT), self._histogram(Counter.Kind.RUN)
        return percentile(waits, 0.5), percentile(waits, 0.95), percentile(runs, 0.5), percentile(runs, 0.95)

    def _histogram(self, wanted: str) -> Sums[int]:
        sums: Sums[int] = Sums()
        for _since, _seconds, _name, kind, bucket, count in self._counters:
            if kind == wanted:
                sums[bucket] += count
        return sums

    # Errors

    @cached_property
    def errors(self) -> list[ErrorGroup]:
        """Return how the newest attempts failed, the error seen last first."""
        newest = Attempt.objects.order_by("-pk").values("pk")[:NEWEST_ATTEMPTS]
        if not connections[database()].features.allow_sliced_subqueries_with_in:
            newest = [row["pk"] for row in newest]  # MySQL
        failed = Attempt.objects.filter(pk__in=newest).exclude(fingerprint="")
        groups = failed.values("fingerprint").annotate(
            exception=Max("exception_class"),
            text=Max(Left("message", 300)),
            task_path=Max("job__task_path"),
            jobs=Count("pk", filter=with_last_attempt()),
            first=Min("finished_at"),
            last=Max("finished_at"),
        )
        return [
            ErrorGroup(
                fingerprint=row["fingerprint"],
                exception_class=row["exception"],
                message=row["text"],
                task_path=row["task_path"],
                jobs=row["jobs"],
                first=row["first"],
                last=row["last"],
            )
            for row in groups.order_by("-last")[:MOST_ERRORS]
        ]

    @cached_property
    def schedules(self) -> list[Schedule]:
        """The ones that are due next; first of all those that should have been."""
        coming = Schedule.objects.filter(enabled=True, next_due_at__isnull=False).order_by("next_due_at")
        return list(coming.defer("args", "kwargs")[:MOST_SCHEDULES])


def with_last_attempt() -> Q:
    """Attempts that are the last of a job which is failed now."""
    return Q(job__state=states.FAILED, number=F("job__attempt"))


def _totals() -> dict[str, models.QuerySet]:
    jobs = Job.objects.all()
    return {
        states.RETRYING: jobs.filter(state=states.RETRYING),
        states.SCHEDULED: jobs.filter(state=states.SCHEDULED),
        states.FAILED: jobs.filter(state=states.FAILED, finished_at__isnull=False),
    }


def _job(*values: Any) -> Job:
    names = ("id", "state", "task_path", "queue_name", "worker", "reason", "args", "kwargs")
    return Job.loaded(database(), dict(zip(names, values, strict=True)))


def calls(jobs: Iterable[Job], most: int) -> list[str]:
    return [call_text(job) for job, _place in zip(jobs, range(most), strict=False)]
