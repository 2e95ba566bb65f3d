#!/usr/bin/env python
"""Runs Django's commands for the demo site."""

import os
import sys
from pathlib import Path


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    sys.path.insert(1, str(Path(__file__).resolve().parent.parent))  # the django_jobs of this checkout
    from django.core.management import execute_from_command_line  # here: the path is set only now

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
