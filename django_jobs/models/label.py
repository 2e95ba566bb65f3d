"""JobLabel: by which jobs are found again, most of all those that are about one object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.db import connections, models
from django.utils.translation import gettext_lazy as _

from ..conf import LABEL, LABEL_LENGTH
from ..exceptions import InvalidTask
from .database import Manager, database
from .job import Job

if TYPE_CHECKING:
    from collections.abc import Iterable


class JobLabel(models.Model):
    """One label of one job; that of an object is its model and key, such as "shop.order:17".

    A text rather than a relation: the object may live in another database, and may be gone.
    """

    pk = models.CompositePrimaryKey("job_id", "label")
    job = models.ForeignKey(Job, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="labels")
    label = models.CharField(max_length=LABEL_LENGTH)

    objects = Manager()

    class Meta:
        verbose_name = _("label")
        verbose_name_plural = _("labels")
        indexes = [models.Index(fields=["label", "job"], name="dj_label_jobs")]

    def __str__(self) -> str:
        return self.label


def label_of(thing: models.Model, asked: str) -> str:
    """Return the label of an object; raise TypeError or InvalidTask, in the name of what was asked, without one."""
    if not isinstance(thing, models.Model):
        kind = f"the class {thing.__name__}" if isinstance(thing, type) else f"a {type(thing).__name__}"
        raise TypeError(
            f"{asked}: jobs are about objects of the database, and this is {kind}. Pass the object itself, such as "
            "about(order); a label of any text is given by using(labels=[...])."
        )
    model = thing._meta.concrete_model._meta
    if thing._state.adding or thing.pk is None:
        raise InvalidTask(f"{asked}: this {model.label} is not saved yet, so it has no key. Save it first.")
    label = f"{model.label_lower}:{thing.pk}"
    if not LABEL.match(label):
        raise InvalidTask(
            f"{asked}: the key of this {model.label} makes no label: that is at most {LABEL_LENGTH} characters, of "
            "which all can be stored."
        )
    return label


def jobs_about(thing: models.Model) -> models.QuerySet:
    """Return the jobs about an object, which ``task.about(...)`` has labelled, the newest first.

    Raises TypeError for what is no object of the database, InvalidTask for one that is not saved.
    """
    return Job.objects.filter(labels__label=label_of(thing, "jobs_about()")).order_by("-id")


def newest_labelled(label: str, count: int) -> models.QuerySet:
    """Return the newest few jobs with a label, the newest first: found by the label, however old they are."""
    keys = JobLabel.objects.filter(label=label).order_by("-job_id").values("job_id")[:count]
    if not connections[database()].features.allow_sliced_subqueries_with_in:
        keys = [row["job_id"] for row in keys]  # MySQL
    return Job.objects.filter(pk__in=keys).order_by("-id")


def labels_of(job: Job) -> tuple[str, ...]:
    """Return what a saved job is labelled with, in order; a copy gets it as its ``new_labels``."""
    return tuple(JobLabel.objects.filter(job=job.pk).order_by("label").values_list("label", flat=True))


def rows_of(jobs: Iterable[Job]) -> list[JobLabel]:
    """Return the rows, not saved, of what new jobs are labelled with."""
    return [JobLabel(job_id=job.id, label=label) for job in jobs for label in job.new_labels]
