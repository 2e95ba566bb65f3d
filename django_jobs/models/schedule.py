"""Schedule and ScheduleRun: rules that make jobs, and the moments at which they did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import Q
from django.utils.timezone import is_naive
from django.utils.translation import gettext, pgettext_lazy
from django.utils.translation import gettext_lazy as _

from .. import codec, cron
from ..conf import QUEUE_NAME, jobs_settings
from ..exceptions import InvalidCron, NotDecodable, NotEncodable
from .database import Manager, database, db_now
from .fields import DbNow, EncodedField, PartialIndex

RULES = ("cron", "every", "once_at")  # what says when; exactly one is set
TIMING = (*RULES, "timezone", "starts_at", "ends_at")  # what next_due_at follows from
PLANNED = ("next_due_at", "last_due_at", "last_run_at", "run_count", "created_at", "note")  # written by save() besides
MIN_EVERY, MAX_EVERY = timedelta(seconds=1), timedelta(days=3653)
MAX_JITTER = timedelta(days=1)
MAX_CATCH_UP = 100
YEARS = range(1970, 3000)
PRIORITIES = range(-100, 101)

_TICK = timedelta.resolution


class Overlap(models.TextChoices):
    """What becomes of a run while the last one is still going."""

    RUN = "run", _("Run anyway")
    SKIP = "skip", _("Skip this run")
    QUEUE = "queue", _("Wait until it has ended")


class AfterDowntime(models.TextChoices):
    """What becomes of the moments at which no worker was there."""

    ONCE = "once", _("Run once")
    SKIP = "skip", _("Skip them")
    ALL = "all", _("Run all of them, up to a number")


class Schedule(models.Model):
    """A rule that makes jobs: by cron, at an interval, or once. Exactly one of the three is set."""

    Overlap = Overlap
    AfterDowntime = AfterDowntime

    name = models.CharField(max_length=200, unique=True)
    key = models.CharField(max_length=255, unique=True, null=True, blank=True, editable=False)  # declared in code
    task_path = models.CharField(_("task"), max_length=255)
    args = EncodedField(default=list, blank=True)
    kwargs = EncodedField(default=dict, blank=True)
    queue_name = models.CharField(_("queue"), max_length=64, default="", blank=True)
    priority = models.SmallIntegerField(null=True, blank=True)

    cron = models.CharField(max_length=255, default="", blank=True)
    every = models.DurationField(null=True, blank=True)
    once_at = models.DateTimeField(null=True, blank=True)
    timezone = models.CharField(max_length=64, default="", blank=True)  # empty: TIME_ZONE
    starts_at = models.DateTimeField(null=True, blank=True)
    ends_at = models.DateTimeField(null=True, blank=True)

    jitter = models.DurationField(null=True, blank=True)  # at most so much later, by chance
    max_runs = models.PositiveIntegerField(null=True, blank=True)
    overlap = models.CharField(max_length=8, choices=Overlap, default=Overlap.RUN, db_default=Overlap.RUN)
    after_downtime = models.CharField(
        max_length=8, choices=AfterDowntime, default=AfterDowntime.ONCE, db_default=AfterDowntime.ONCE
    )
    catch_up = models.PositiveSmallIntegerField(default=10, db_default=10)  # the most that ALL runs

    enabled = models.BooleanField(default=True)
    note = models.CharField(max_length=200, default="", blank=True)  # why it was disabled, if not by a person
    next_due_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_due_at = models.DateTimeField(null=True, blank=True, editable=False)  # never goes down
    last_run_at = models.DateTimeField(null=True, blank=True, editable=False)
    run_count = models.PositiveIntegerField(default=0, db_default=0, editable=False)
    declared = EncodedField(null=True, blank=True, editable=False)  # what the code says of it; None: nothing
    created_at = models.DateTimeField(db_default=DbNow(), editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    objects = Manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        indexes = [PartialIndex(fields=["next_due_at"], name="dj_schedule_due", where=Q(enabled=True))]

    def __str__(self) -> str:
        return self.name

    @property
    def zone(self) -> ZoneInfo:
        """The time zone in which ``cron`` is read; raises ValueError for one that is not known."""
        return cron.zone(self.timezone or settings.TIME_ZONE)

    def moment_after(self, after: datetime) -> datetime | None:
        """Return the first moment strictly after ``after`` at which this schedule is due, or None.

        Raises ValueError (InvalidCron is one) when the rule cannot be understood.
        """
        if self.starts_at:
            after = max(after, self.starts_at - _TICK)
        try:
            moment = self._moment_by_rule(after)
        except OverflowError:  # beyond the year 9999
            return None
        return None if moment is None or (self.ends_at and moment > self.ends_at) else moment

    def _moment_by_rule(self, after: datetime) -> datetime | None:
        if self.cron:
            return cron.next_time(self.cron, after, self.zone)
        if self.every is not None:
            return cron.next_interval(self.every, self.anchor or after, after)
        if self.once_at:
            return self.once_at if self.once_at > after else None
        raise ValueError("It does not say when: neither cron, nor every, nor once_at is set.")

    @property
    def anchor(self) -> datetime | None:
        """The moment from which intervals are counted; None before the first save."""
        return self.starts_at or (self.created_at if isinstance(self.created_at, datetime) else None)

    def latest_moment(self, due: datetime, now: datetime) -> datetime:
        """Return the last due moment not after ``now``, given one of them; in few steps after any pause."""
        length = timedelta(minutes=1)
        while now - length > due:  # most schedules were due a short time ago
            moment = self.moment_after(now - length)
            if moment is not None and moment <= now:
                return self._last_until(now, moment)
            length *= 2
        return self._last_until(now, due)

    def latest_moments(self, due: datetime, now: datetime, most: int) -> list[datetime]:
        """Return the last due moments not after ``now``, oldest first, given the first of them; at most so many."""
        found = [self.latest_moment(due, now)]
        while found[-1] > due and len(found) < most:
            found.append(self.latest_moment(due, found[-1] - _TICK))
        return found[::-1]

    @property
    def is_spent(self) -> bool:
        """Say whether it has made as many runs as it may."""
        return self.max_runs is not None and self.run_count >= self.max_runs

    @property
    def overrides(self) -> list[str]:
        """The columns that do not stand as the code says, for a schedule that the code declares."""
        return [name for name, value in (self.declared or {}).items() if getattr(self, name) != value]

    @property
    def is_removed(self) -> bool:
        """Say whether the code declared it once, and does no longer."""
        return self.key is not None and self.declared is None

    def _last_until(self, now: datetime, due: datetime) -> datetime:
        following = self.moment_after(due)
        if following is None or following > now:
            return due
        due, end = following, now
        while end - due > timedelta(milliseconds=1):
            middle = due + (end - due) / 2
            moment = self.moment_after(middle)
            if moment is not None and moment <= now:
                due = moment
            else:
                end = middle
        return due

    # Saving: what is due next follows from the rule, and from what was due before.

    def save(
        self, *args: Any, using: str | None = None, update_fields: Iterable[str] | None = None, **options: Any
    ) -> None:
        """Save, with ``next_due_at`` planned anew where the rule has changed.

        Raises ValueError when the rule cannot be understood; ``full_clean()`` says so per field.
        """
        alias = using or database()
        if update_fields is not None:
            update_fields = {*update_fields, *PLANNED}
        with transaction.atomic(using=alias):
            stored = self._stored(alias, lock=True)
            self.plan(stored, db_now())
            super().save(*args, using=alias, update_fields=update_fields, **options)

    def plan(self, stored: Schedule | None, now: datetime) -> None:
        """Set what is due next. ``stored`` is the row as it stands, which may have fired since we read it."""
        if stored:
            self.last_due_at = _later(self.last_due_at, stored.last_due_at)
            self.last_run_at = _later(self.last_run_at, stored.last_run_at)
            self.run_count = stored.run_count
            self.created_at = stored.created_at
        elif not isinstance(self.created_at, datetime):
            self.created_at = now
        self.next_due_at = self._next_due(stored, now)
        if self.enabled:
            self.note = ""

    def next_if_saved(self, now: datetime) -> datetime | None:
        """Return what would be due next if it were saved now, and switched on."""
        stored = self._stored(database(), lock=False)
        if stored:
            self.last_due_at, self.run_count = stored.last_due_at, stored.run_count
            self.created_at = stored.created_at
        elif not isinstance(self.created_at, datetime):
            self.created_at = now
        if not self.enabled and not self.is_spent:
            return self.moment_after(_later(now, self.last_due_at))
        return self._next_due(stored, now)

    def _next_due(self, stored: Schedule | None, now: datetime) -> datetime | None:
        if not self.enabled or self.is_spent:
            return None
        if stored and stored.enabled and stored.next_due_at:
            if stored.next_due_at <= now:
                return stored.next_due_at  # due already: an edit does not swallow it
            if all(getattr(stored, name) == getattr(self, name) for name in TIMING):
                return stored.next_due_at
        return self.moment_after(_later(now, self.last_due_at))

    def _stored(self, alias: str, *, lock: bool) -> Schedule | None:
        if self.pk is None:
            return None
        rows = Schedule.objects.using(alias).filter(pk=self.pk)
        return (rows.select_for_update() if lock else rows).first()

    # Validation: each mistake is named at its field, and none is a crash.

    def clean_fields(self, exclude: Iterable[str] | None = None) -> None:
        damaged = {name: [problem] for name in ("args", "kwargs") if (problem := self._damage(name))}
        errors: dict[str, Any] = dict(damaged)
        try:
            super().clean_fields(exclude={*(exclude or ()), *damaged})
        except ValidationError as error:
            errors = error.update_error_dict(errors)
        if errors:
            raise ValidationError(errors)

    def clean(self) -> None:
        """Raise ValidationError with all that is wrong, per field."""
        errors = self.mistakes()
        if not errors:
            self._check_that_it_will_run(errors)
        if errors:
            raise ValidationError(dict(errors))

    def mistakes(self) -> dict[str, list[Any]]:
        """Return what is wrong in itself, per field, without a look at the database or the clock."""
        errors: dict[str, list[Any]] = defaultdict(list)
        self._check_texts(errors)
        self._check_rule(errors)
        self._check_moments(errors)
        self._check_arguments(errors)
        self._check_queue(errors)
        self._check_policies(errors)
        return errors

    def _damage(self, name: str) -> str:
        try:
            getattr(self, name)
        except NotDecodable as error:
            return str(error)
        return ""

    def _check_texts(self, errors: dict[str, list[Any]]) -> None:
        for name in ("name", "task_path", "queue_name", "cron", "timezone"):
            if not _is_storable(getattr(self, name)):
                errors[name].append(_("A NUL or half of a surrogate pair cannot be stored: take it out."))

    def _check_rule(self, errors: dict[str, list[Any]]) -> None:
        given = [name for name in RULES if getattr(self, name) not in (None, "")]
        if not given:
            errors["cron"].append(
                ValidationError(_("Say when: by a cron expression, an interval, or one moment."), code="no_rule")
            )
        for name in given[1:]:
            errors[name].append(_("Only one of cron, interval and moment can be set: empty the others."))
        for name, check in (
            ("cron", self._check_cron),
            ("every", self._check_every),
            ("timezone", self._check_zone),
        ):
            if problem := check():
                errors[name].append(problem)

    def _check_cron(self) -> Any:
        try:
            return cron.check(self.cron) if self.cron else None
        except InvalidCron as error:
            return str(error)

    def _check_every(self) -> Any:
        if self.every is None or MIN_EVERY <= self.every <= MAX_EVERY:
            return None
        return _("An interval is one second at least, and ten years at most.")

    def _check_zone(self) -> Any:
        try:
            self.zone  # noqa: B018  raises
        except ValueError as error:
            return str(error)
        return None

    def _check_moments(self, errors: dict[str, list[Any]]) -> None:
        for name in ("once_at", "starts_at", "ends_at"):
            moment = getattr(self, name)
            if moment is None:
                continue
            if moment.year not in YEARS:
                errors[name].append(_("The year must be from 1970 to 2999."))
            elif is_naive(moment):
                errors[name].append(_("The moment must know its time zone."))
        both = self.starts_at and self.ends_at and not errors.keys() & {"starts_at", "ends_at"}
        if both and self.ends_at <= self.starts_at:
            errors["ends_at"].append(_("The end must be after the start."))

    def _check_arguments(self, errors: dict[str, list[Any]]) -> None:
        size = 0
        for name, kind, wanted in (
            ("args", list, _('Positional arguments must be a JSON list, such as [1, "two"].')),
            ("kwargs", dict, _('Keyword arguments must be a JSON object, such as {"amount": 49.9}.')),
        ):
            if self._damage(name):
                continue  # clean_fields has said so
            value = getattr(self, name)
            if not isinstance(value, kind) and not (kind is list and isinstance(value, tuple)):
                errors[name].append(wanted)
                continue
            try:
                size += len(codec.dumps(value))
            except NotEncodable as error:
                inside = "".join(f"[{step!r}]" for step in error.path[:8])
                place = inside or gettext("The value")
                errors[name].append(f"{place} {error}")
        if size > jobs_settings.MAX_ARGS_BYTES:
            errors["kwargs"].append(
                gettext("The arguments take %(size)s bytes, MAX_ARGS_BYTES allows %(limit)s.")
                % {"size": size, "limit": jobs_settings.MAX_ARGS_BYTES}
            )

    def _check_queue(self, errors: dict[str, list[Any]]) -> None:
        if self.queue_name and not QUEUE_NAME.match(self.queue_name):
            errors["queue_name"].append(_("A queue's name is letters, digits, '_', '.' and '-', at most 64 of them."))
        if self.priority is not None and self.priority not in PRIORITIES:
            errors["priority"].append(_("The priority is a whole number from -100 to 100."))

    def _check_policies(self, errors: dict[str, list[Any]]) -> None:
        for name, choices in (("overlap", Overlap), ("after_downtime", AfterDowntime)):
            if getattr(self, name) not in choices.values:
                errors[name].append(gettext("Choose one of %(choices)s.") % {"choices": ", ".join(choices.values)})
        if self.jitter is not None and not timedelta(0) <= self.jitter <= MAX_JITTER:
            errors["jitter"].append(_("The jitter is from nothing to one day."))
        if self.max_runs is not None and self.max_runs < 1:
            errors["max_runs"].append(_("It would never run: at least one run, or empty for no limit."))
        if self.after_downtime != AfterDowntime.ALL:
            return
        if not 1 <= (self.catch_up or 0) <= MAX_CATCH_UP:
            errors["catch_up"].append(gettext("Run from 1 to %(most)s of the moments missed.") % {"most": MAX_CATCH_UP})
        if self.overlap == Overlap.SKIP:
            errors["after_downtime"].append(
                _("The first of them would still be going, and the others be skipped: let runs wait, or run anyway.")
            )

    def _check_that_it_will_run(self, errors: dict[str, list[Any]]) -> None:
        if not self.enabled or self._next_due(self._stored(database(), lock=False), db_now()):
            return
        if self.is_spent:
            errors["max_runs"].append(
                gettext("It has made its %(count)s runs: allow more, or switch it off.") % {"count": self.run_count}
            )
        elif self.once_at:
            errors["once_at"].append(_("It would never run: that moment has passed, or lies outside start and end."))
        else:
            errors["ends_at"].append(_("It would never run: no moment of its rule lies before the end."))


class ScheduleRun(models.Model):
    """One moment of a schedule and the job made for it; unique, so that it never makes a second."""

    class Kind(models.TextChoices):
        DUE = "due", pgettext_lazy("run of a schedule", "by the rule")
        BY_HAND = "by_hand", pgettext_lazy("run of a schedule", "by hand")
        SKIPPED = "skipped", pgettext_lazy("run of a schedule", "skipped, the last run was still going")
        MISSED = "missed", pgettext_lazy("run of a schedule", "missed, no worker was there")

    schedule = models.ForeignKey(Schedule, on_delete=models.CASCADE, related_name="runs")
    due_at = models.DateTimeField()
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.DUE, db_default=Kind.DUE)
    job = models.UUIDField(null=True)  # None: skipped or missed
    created_at = models.DateTimeField(db_default=DbNow())

    objects = Manager()

    class Meta:
        verbose_name = _("schedule run")
        verbose_name_plural = _("schedule runs")
        constraints = [models.UniqueConstraint(fields=["schedule", "due_at"], name="dj_schedulerun_due")]

    def __str__(self) -> str:
        return f"{self.schedule_id} at {self.due_at:%Y-%m-%d %H:%M:%S}"


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    return max((moment for moment in (one, other) if moment), default=None)


def _is_storable(text: Any) -> bool:
    """Say whether a database can keep the text."""
    try:
        return b"\0" not in str(text).encode()
    except UnicodeEncodeError:
        return False
