"""Queue, Worker and Meta: who works on what, and what all workers must agree on."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from .database import Manager
from .fields import DbNow, EncodedField


class Queue(models.Model):
    """A queue that has had a job; paused ones are served by nobody."""

    name = models.CharField(primary_key=True, max_length=64)
    paused_at = models.DateTimeField(null=True, blank=True)
    paused_by = models.CharField(max_length=150, default="", blank=True)
    reason = models.CharField(max_length=200, default="", blank=True)

    objects = Manager()

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")

    def __str__(self) -> str:
        return self.name


class Worker(models.Model):
    """One start of ``runworker``: alive while it beats, gone when it has not for a lease."""

    class Wish(models.TextChoices):
        NONE = "", pgettext_lazy("wish to a worker", "to work")
        QUIET = "quiet", pgettext_lazy("wish to a worker", "to take nothing more")
        STOP = "stop", pgettext_lazy("wish to a worker", "to stop")

    id = models.UUIDField(primary_key=True, editable=False)
    host = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = EncodedField(default=list)  # list of str; empty: every queue
    slots = models.IntegerField(default=1)  # bodies it can run at a time
    version = models.CharField(max_length=32, default="")
    info = EncodedField(default=dict)  # what it says of itself at each beat, for people
    wish = models.CharField(max_length=8, choices=Wish.choices, default="", db_default="", blank=True)  # of people
    started_at = models.DateTimeField(db_default=DbNow())
    beat_at = models.DateTimeField(db_default=DbNow())
    alive_until = models.DateTimeField()  # without another beat it counts as dead then
    stopped_at = models.DateTimeField(null=True)  # it said good-bye
    lost_at = models.DateTimeField(null=True)  # others found it dead

    objects = Manager()

    class Meta:
        verbose_name = _("worker")
        verbose_name_plural = _("workers")

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class Meta(models.Model):
    """What all workers share: the epoch of Redis, and who does the chores for how long."""

    EPOCH = "epoch"  # a key

    key = models.CharField(primary_key=True, max_length=64)
    value = models.CharField(max_length=255, default="")
    until = models.DateTimeField(null=True)

    objects = Manager()

    class Meta:
        verbose_name = _("shared value")
        verbose_name_plural = _("shared values")

    def __str__(self) -> str:
        return f"{self.key}={self.value}"
