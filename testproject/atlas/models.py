"""What the atlas knows: airports, photographs of cities, postcards, pages of a partner, reports."""

import uuid

from django.db import models
from django.urls import reverse


class Airport(models.Model):
    """One line of an imported CSV file."""

    icao = models.CharField("ICAO code", max_length=8, primary_key=True)
    iata = models.CharField("IATA code", max_length=3, blank=True, db_index=True)
    name = models.CharField(max_length=200)
    city = models.CharField(max_length=100, blank=True)
    country = models.CharField(max_length=2)
    region = models.CharField(max_length=20)  # the first part of the time zone: America, Asia ...
    timezone = models.CharField(max_length=50)
    latitude = models.FloatField()
    longitude = models.FloatField()
    elevation = models.FloatField()  # feet

    def __str__(self) -> str:
        return f"{self.icao} {self.name}"


def upload_path(_import: "Import", name: str) -> str:
    """Return a path that no other upload has, so that none replaces a file that is being read."""
    return f"uploads/{uuid.uuid4()}/{name}"


class Import(models.Model):
    """A CSV file of airports that somebody gave us, and the job that reads it."""

    name = models.CharField(max_length=200)
    file = models.FileField(upload_to=upload_path)
    created_at = models.DateTimeField(auto_now_add=True)
    job_id = models.UUIDField(null=True, editable=False)
    rows = models.IntegerField(null=True, editable=False)
    skipped = models.IntegerField(null=True, editable=False)  # lines that are no airport

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("atlas:import_page", args=[self.pk])


class Photo(models.Model):
    """A photograph of a city."""

    city = models.CharField(max_length=100)
    country = models.CharField(max_length=100)
    file = models.FileField(upload_to="photos/", unique=True)
    thumbnail = models.FileField(upload_to="thumbnails/", blank=True, editable=False)

    class Meta:
        ordering = ["id"]

    def __str__(self) -> str:
        return f"{self.city}, {self.country}"


class Postcard(models.Model):
    """A mail with a photograph."""

    photo = models.ForeignKey(Photo, on_delete=models.CASCADE)
    recipient = models.EmailField()
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, editable=False)

    def __str__(self) -> str:
        return f"{self.photo} to {self.recipient}"


class Page(models.Model):
    """A page of a partner's site, about one airport."""

    code = models.CharField("IATA code", max_length=3, primary_key=True)
    status = models.IntegerField("HTTP status", null=True, editable=False)
    title = models.CharField(max_length=200, blank=True, editable=False)
    size = models.IntegerField(null=True, editable=False)  # bytes
    fetched_at = models.DateTimeField(null=True, editable=False)

    class Meta:
        ordering = ["code"]

    def __str__(self) -> str:
        return self.code


class Report(models.Model):
    """How many airports each region had at a moment."""

    created_at = models.DateTimeField(auto_now_add=True)
    total = models.IntegerField()
    regions = models.JSONField()  # name -> count

    def __str__(self) -> str:
        return f"{self.total} airports"

    def top(self) -> list[tuple[str, int]]:
        """Return the largest regions, the largest first."""
        return sorted(self.regions.items(), key=lambda item: -item[1])[:6]
