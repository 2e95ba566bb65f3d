"""Brings in what the atlas works on: data by others, out of packages on PyPI.

* 28,000 airports: ``airports.csv`` of the package airportsdata (MIT licence).
* 49 photographs of cities: a zip file in the wheel of Mezzanine (BSD licence). The wheel is downloaded and
  read, not installed, since it needs an old Django.
"""

import hashlib
import io
import subprocess
import sys
import unicodedata
import zipfile
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.files.base import ContentFile

from django_jobs.models import Schedule

from .models import Page, Photo

DOWNLOADS = settings.BASE_DIR / "downloads"
MEZZANINE = "mezzanine==6.1.1"
WHEEL = "mezzanine-6.1.1-py2.py3-none-any.whl"
WHEEL_SHA256 = "abb8a3d7ee91b724d8aa89fa971bad1cf8e368c21055da4913e20e1418a96d1b"
GALLERY = "mezzanine/core/static/test/gallery.zip"

# Airports near the cities of the photographs. The partner has no page on TXL: Berlin-Tegel closed in 2020.
# fmt: off
DESTINATIONS = [
    "AMS", "ATH", "AUS", "BKK", "BER", "BOS", "BNE", "BRU", "EZE", "CAI", "ORD", "SIN",
    "DAL", "DEN", "DUB", "DUS", "FRA", "GVA", "INV", "LIS", "LPL", "LHR", "LGB", "SDF",
    "RAK", "MIA", "NCE", "SVO", "NAP", "PMO", "CDG", "KEF", "FCO", "SFO", "SCL", "SEA",
    "ARN", "SYD", "PHX", "HND", "YYZ", "YVR", "VCE", "VIE", "WAW", "TXL",
]
# fmt: on


def sample_csv() -> Path:
    return Path(str(files("airportsdata") / "airports.csv"))


def load(report_every: timedelta) -> None:
    """Put in place what the buttons of the site work on. What is there already is left alone."""
    load_photos()
    Page.objects.bulk_create([Page(code=code) for code in DESTINATIONS], ignore_conflicts=True)
    Schedule.objects.get_or_create(
        name="Airports by region",
        defaults={"task_path": "atlas.tasks.write_report", "every": report_every},
    )
    make_superuser()


def load_photos() -> None:
    if Photo.objects.exists():
        return
    with zipfile.ZipFile(mezzanine_wheel()) as wheel:
        content = io.BytesIO(wheel.read(GALLERY))
    with zipfile.ZipFile(content) as gallery:
        for name in sorted(gallery.namelist()):
            save_photo(unicodedata.normalize("NFC", name), gallery.read(name))


def save_photo(name: str, content: bytes) -> None:
    """Save a photograph whose file name is like "Lisbon, Portugal.jpg"."""
    city, _comma, country = name.removesuffix(".jpg").partition(", ")
    Photo(city=city, country=country).file.save(name, ContentFile(content), save=True)


def mezzanine_wheel() -> Path:
    """Return the wheel, downloaded by pip unless it is here."""
    wheel = DOWNLOADS / WHEEL
    if not wheel.exists():
        command = ["download", "--quiet", "--no-deps", "--no-cache-dir", "--dest", str(DOWNLOADS), MEZZANINE]
        subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *command], check=True)
    if hashlib.sha256(wheel.read_bytes()).hexdigest() != WHEEL_SHA256:
        raise SystemExit(f"{wheel} is not the file that it should be. Delete it and try again.")
    return wheel


def make_superuser() -> None:
    """Make the login that demo.py prints: for a site on localhost, with nothing to protect."""
    if not get_user_model().objects.filter(username="admin").exists():
        get_user_model().objects.create_superuser("admin", "admin@atlas.example", "admin")
