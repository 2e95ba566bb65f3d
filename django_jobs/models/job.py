"""Job and Attempt: what was asked for, and what came of it."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.db import models
from django.db.models import Q
from django.db.models.base import ModelState
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .. import codec, states
from ..ids import job_id
from . import above
from .database import Manager, database
from .fields import DbNow, EncodedField, EncodedText, PartialIndex

if TYPE_CHECKING:
    from ..tasks import Call

STATE_LABELS = [
    (states.SCHEDULED, pgettext_lazy("job state", "scheduled")),
    (states.QUEUED, pgettext_lazy("job state", "queued")),
    (states.RUNNING, pgettext_lazy("job state", "running")),
    (states.RETRYING, pgettext_lazy("job state", "retrying")),
    (states.SUCCEEDED, pgettext_lazy("job state", "succeeded")),
    (states.FAILED, pgettext_lazy("job state", "failed")),
    (states.CANCELLED, pgettext_lazy("job state", "cancelled")),
]
LAST_ERROR_LENGTH = 500
LOG_LENGTH = 20_000  # characters


class Job(models.Model):
    """One request to run a task. ``state`` is written by ``django_jobs.moves`` and nowhere else."""

    id = models.UUIDField(primary_key=True, default=job_id, editable=False)
    task_path = models.CharField(_("task"), max_length=255)
    args = EncodedField(default=list)
    kwargs = EncodedField(default=dict)
    return_value = EncodedField(null=True)
    metadata = EncodedField(default=dict)
    context = EncodedField(default=dict)

    queue_name = models.CharField(_("queue"), max_length=64, default="default")
    priority = models.SmallIntegerField(default=0)
    state = models.CharField(max_length=12, choices=STATE_LABELS, default=states.QUEUED)
    reason = models.CharField(max_length=200, default="", blank=True)
    run_after = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    timeout = models.FloatField(null=True, blank=True)  # seconds
    max_attempts = models.IntegerField(null=True, blank=True, default=1)
    max_losses = models.IntegerField(default=3)

    claim = models.BigIntegerField(default=0)  # the fencing token: +1 per claim, never lowered
    attempt = models.IntegerField(default=0)  # starts that may have had effects, never reset
    failures = models.IntegerField(default=0)
    losses = models.IntegerField(default=0)
    interruptions = models.IntegerField(default=0)
    suspected = models.BooleanField(default=False, db_default=False)  # its process died while it and others ran
    worker = models.UUIDField(null=True)
    slot = models.IntegerField(null=True)  # the number of the worker's child

    enqueued_at = models.DateTimeField(db_default=DbNow())
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    cancel_requested_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=LAST_ERROR_LENGTH, default="", blank=True)
    progress = EncodedField(null=True)
    log = models.TextField(null=True)  # the tail of what the bodies logged; see ``Job.log_lines``

    backend = models.CharField(max_length=64, default="", blank=True)  # alias in TASKS; empty for ours
    schedule = models.ForeignKey(
        "Schedule",
        null=True,
        on_delete=models.SET_NULL,
        db_constraint=False,
        db_index=False,
        related_name="jobs",
    )
    parent = models.UUIDField(null=True)  # the job that it follows
    followed = models.BooleanField(default=False, db_default=False)  # others wait for its end
    copied_from = models.UUIDField(null=True)
    created_by = models.CharField(max_length=150, default="", blank=True)
    prune_at = models.DateTimeField(null=True)

    objects = Manager()

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")
        # A row stands in at most two of these besides the key: each index entry is written again with
        # every change of state.
        indexes = [
            PartialIndex(fields=["queue_name", "-priority", "id"], name="dj_job_queued", where=Q(state=states.QUEUED)),
            PartialIndex(
                fields=["run_after"],
                name="dj_job_due",
                where=Q(state__in=[states.SCHEDULED, states.RETRYING]),
            ),
            PartialIndex(fields=["worker", "slot"], name="dj_job_running", where=Q(state=states.RUNNING)),
            PartialIndex(fields=["state", "prune_at"], name="dj_job_final", where=Q(finished_at__isnull=False)),
            PartialIndex(
                fields=["expires_at"],
                name="dj_job_expires",
                where=Q(expires_at__isnull=False, finished_at__isnull=True),
            ),
            PartialIndex(
                fields=["schedule", "finished_at"], name="dj_job_of_schedule", where=Q(schedule__isnull=False)
            ),
            PartialIndex(fields=["parent"], name="dj_job_parent", where=Q(parent__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(
                name="dj_job_final_has_finished_at",
                condition=Q(state__in=states.FINAL, finished_at__isnull=False)
                | (~Q(state__in=states.FINAL) & Q(finished_at__isnull=True)),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.id}"

    # Without ``__init__``, as unpickling does it: that one takes longer than all else that is done for a job.

    @classmethod
    def new(cls, **columns: Any) -> Job:
        """Return a new job as ``Job(...)`` would; keywords are names of columns, encoded values are EncodedText."""
        return cls._made(_defaults() | {"id": job_id()} | columns, ModelState())

    @classmethod
    def loaded(cls, alias: str, columns: dict[str, Any]) -> Job:
        """Return a job as it was read from the database of that alias; other columns are read at the first look."""
        state = ModelState()
        state.db, state.adding = alias, False
        return cls._made(columns, state)

    @classmethod
    def _made(cls, columns: dict[str, Any], state: ModelState) -> Job:
        job = cls.__new__(cls)
        job.__dict__.update(columns, _state=state)
        return job

    @property
    def name(self) -> str:
        """The task's name without its module."""
        return self.task_path.rpartition(".")[2]

    @property
    def status(self) -> str:
        """Django's word for the state: READY, RUNNING, SUCCESSFUL or FAILED."""
        return states.STATUSES[self.state]

    @property
    def is_finished(self) -> bool:
        return self.state in states.FINAL

    @property
    def attempts(self) -> int:
        """How many times the body was started, as far as is known."""
        return self.attempt

    @property
    def errors(self) -> list[Attempt]:
        """The attempts that did not succeed, oldest first."""
        return list(Attempt.objects.using(self._state.db or database()).filter(job_id=self.id).order_by("number"))

    @property
    def worker_ids(self) -> list[str]:
        """The worker of each attempt, then the one that runs it or has finished it."""
        ids = [str(attempt.worker) for attempt in self.errors]
        if self.worker and self.state in (states.RUNNING, states.SUCCEEDED):
            ids.append(str(self.worker))
        return ids

    @property
    def log_lines(self) -> list[str]:
        """What the bodies of all attempts logged last, oldest first; a line that is not whole any more is left out."""
        lines = (self.log or "").splitlines()
        return lines[1:] if len(self.log or "") >= LOG_LENGTH else lines

    @property
    def duration(self) -> timedelta | None:
        """How long the last attempt ran, or None before its end."""
        return self.finished_at - self.started_at if self.finished_at and self.started_at else None

    new_labels: tuple[str, ...] = ()  # of a job that is not saved yet; then they are rows of JobLabel
    _enqueued_in: Any = None  # the outermost atomic() block around the enqueueing: nobody may wait in there

    def refresh(self) -> None:
        """Read the row again. Raises Job.DoesNotExist once it is deleted."""
        self._take_over(Job.objects.get(pk=self.pk))

    async def arefresh(self) -> None:
        """Read the row again. Raises Job.DoesNotExist once it is deleted."""
        self._take_over(await Job.objects.aget(pk=self.pk))

    def _take_over(self, row: Job) -> None:
        # Not refresh_from_db: it would decode every encoded column, and fail on a damaged one.
        for field in self._meta.concrete_fields:
            self.__dict__[field.attname] = row.__dict__[field.attname]
        self._state.fields_cache.clear()

    def wait(self, timeout: float | None = None) -> Job:
        """Return this job, refreshed, once it is in a final state, whichever it is.

        Raises TimeoutError after ``timeout`` seconds, and RuntimeError inside the transaction that
        enqueued the job, since no worker can see it there.
        """
        return above.wait(self, timeout)

    async def wait_async(self, timeout: float | None = None) -> Job:
        """Do as ``wait``, without blocking the event loop."""
        return await above.wait_async(self, timeout)

    def then(self, call: Call) -> Job:
        """Save a job that starts when this one has succeeded, made by ``task.s(...)``; return it.

        ``RESULT`` among the arguments stands for what this job returns. If this job ends in another way the new
        one is cancelled, and queued all the same when somebody retries this one with success. Raises
        Job.DoesNotExist when this job is deleted.
        """
        return above.follow(self, call)

    async def athen(self, call: Call) -> Job:
        """Do as ``then``, on the connection and in the transaction of Django's async ORM."""
        return await sync_to_async(self.then)(call)


@cache
def _defaults() -> dict[str, Any]:
    """Return the columns of a job that nothing is said about; what could be changed in place is encoded."""
    columns = {field.attname: field.get_default() for field in Job._meta.concrete_fields if not field.primary_key}
    return {
        name: EncodedText(codec.dumps(value)) if isinstance(value, list | dict) else value
        for name, value in columns.items()
    }


class Attempt(models.Model):
    """One start of a body that did not succeed; the try that succeeds lives on the Job."""

    class Kind(models.TextChoices):
        FAILED = "failed", pgettext_lazy("attempt", "failed")
        LOST = "lost", pgettext_lazy("attempt", "lost")
        INTERRUPTED = "interrupted", pgettext_lazy("attempt", "interrupted")
        TIMED_OUT = "timed_out", pgettext_lazy("attempt", "timed out")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="+")
    number = models.IntegerField()
    kind = models.CharField(max_length=12, choices=Kind.choices)
    worker = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(db_default=DbNow())
    exception_class = models.CharField(max_length=255, default="", blank=True)
    message = models.TextField(default="", blank=True)
    fingerprint = models.CharField(max_length=32, default="", blank=True)
    args = EncodedField(null=True)  # both None: the job's own; set when the job is given others
    kwargs = EncodedField(null=True)

    objects = Manager()

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        constraints = [models.UniqueConstraint(fields=["job", "number"], name="dj_attempt_number")]
        indexes = [models.Index(fields=["fingerprint"], name="dj_attempt_fingerprint")]

    def __str__(self) -> str:
        return f"{self.number}: {self.kind}"

    @property
    def exception_class_path(self) -> str:
        return self.exception_class

    @property
    def traceback(self) -> str:
        """The traceback's text, without local variables; empty when the body never raised."""
        found = Traceback.objects.filter(fingerprint=self.fingerprint).first() if self.fingerprint else None
        return f"{found.text}{self.exception_class}: {self.message}\n" if found else ""


class Traceback(models.Model):
    """A traceback's text, stored once for all attempts that failed in the same way."""

    fingerprint = models.CharField(primary_key=True, max_length=32)
    text = models.TextField()
    created_at = models.DateTimeField(db_default=DbNow())

    objects = Manager()

    class Meta:
        verbose_name = _("traceback")
        verbose_name_plural = _("tracebacks")

    def __str__(self) -> str:
        return self.fingerprint
