"""Imported by the suite's settings when asked for: the wall clock is wrong by DJANGO_JOBS_TEST_CLOCK seconds."""

import os
import time
from datetime import timedelta

from django.utils import timezone

WRONG_BY = float(os.environ["DJANGO_JOBS_TEST_CLOCK"])
true_time, true_now = time.time, timezone.now

time.time = lambda: true_time() + WRONG_BY
timezone.now = lambda: true_now() + timedelta(seconds=WRONG_BY)
