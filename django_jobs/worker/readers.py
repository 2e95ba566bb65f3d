"""Waits until something can be read, whatever the numbers of the file descriptors are."""

from __future__ import annotations

import select
from collections.abc import Sequence
from typing import Any


def readable(readers: Sequence[Any], seconds: float) -> list[Any]:
    """Return those of the readers, descriptors or objects with ``fileno()``, that can be read within the time."""
    poll = select.poll()  # not select.select, which refuses descriptors above 1,023: a body may leave many open
    by_number = {reader if isinstance(reader, int) else reader.fileno(): reader for reader in readers}
    for number in by_number:
        poll.register(number, select.POLLIN)
    return [by_number[number] for number, _ in poll.poll(seconds * 1000)]
