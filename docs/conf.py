"""Sphinx's settings: ``make docs`` builds these pages into ``docs/_build``."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the directives beside this file, and the states they draw

from django_jobs import __version__  # noqa: E402  needs the path

project = "django_jobs"
author = "the django_jobs contributors"
release = version = __version__

extensions = ["myst_parser", "lifecycle"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]

html_theme = "furo"
html_title = f"django_jobs {release}"
html_copy_source = False
