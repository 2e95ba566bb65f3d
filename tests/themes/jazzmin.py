"""The suite's settings with django-jazzmin for an admin, as its own docs say to install it."""

from tests.themes.unfold import *  # noqa: F403
from tests.themes.unfold import INSTALLED_APPS

INSTALLED_APPS = ["jazzmin", *INSTALLED_APPS[1:]]
JAZZMIN_SETTINGS = {"use_google_fonts_cdn": False}
