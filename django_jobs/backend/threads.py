"""Calls that need a thread without an event loop, made from one that may have one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connections


def outside_the_loop(function: Callable[..., Any], *args: Any) -> Any:
    """Call the function here, or in a thread of its own while an event loop runs in this one, and wait for it.

    The ORM refuses to work beside a loop, and receivers of Django's signals expect that it works.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return function(*args)
    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(_call_and_close, function, *args).result()


def _call_and_close(function: Callable[..., Any], *args: Any) -> Any:
    try:
        return function(*args)
    finally:
        connections.close_all()  # of this thread, which ends
