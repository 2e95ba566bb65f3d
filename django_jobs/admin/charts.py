"""Charts as numbers for a template that draws them: bars of a height, nothing that a browser has to compute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, in units of the drawing."""

    x: int
    y: int
    height: int
    title: Any


@dataclass(frozen=True, kw_only=True)
class Bars:
    """A row of bars standing on one line."""

    width: int
    height: int
    thickness: int
    bars: list[Bar]
    most: int


def bars(values: Sequence[int], titles: Sequence[Any], *, height: int, step: int = 10, most: int = 0) -> Bars:
    """Return a bar for each value; ``most``: the value of full height, if it is not the greatest."""
    most = max(most, *values, 1)
    drawn = []
    for index, (value, title) in enumerate(zip(values, titles, strict=True)):
        tall = max(2, round(height * value / most)) if value else 0
        drawn.append(Bar(x=index * step, y=height - tall, height=tall, title=title))
    return Bars(width=len(values) * step, height=height, thickness=step - max(1, step // 8), bars=drawn, most=most)
