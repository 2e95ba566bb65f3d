"""The bodies that every peer runs. The first line of each notes when it began, at the same price for all."""

from __future__ import annotations

import asyncio
import os
import time
from time import monotonic

from benchmarks.stamps import Stamps

_began = Stamps(os.environ["BENCH_STAMPS"]).times


def noop(number, payload=""):
    _began[number] = monotonic()


def sleep(number, payload=""):
    _began[number] = monotonic()
    time.sleep(0.01)


async def async_sleep(number, payload=""):
    _began[number] = monotonic()
    await asyncio.sleep(0.01)


def query(number, payload=""):
    from django.contrib.auth.models import Group  # here: some peers import this module before the apps are ready

    _began[number] = monotonic()
    Group.objects.filter(pk=number).exists()
