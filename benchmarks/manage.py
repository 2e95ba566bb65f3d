#!/usr/bin/env python
"""manage.py of the benchmarks' project, run in the virtualenv of a peer as ``python -m benchmarks.manage``."""

import sys

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
