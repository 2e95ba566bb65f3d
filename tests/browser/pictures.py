"""Takes pictures of pages, small enough to be kept beside the docs."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

COLOURS = 255


def take(page, target: Path, tallest: int = 1800) -> int:
    """Write a picture of a page, its first ``tallest`` pixels, and return its size in bytes."""
    for height in (200, tallest):  # first very low, so that the page says how tall it must be
        height = min(height, page.evaluate("document.documentElement.scrollHeight"))
        page.set_viewport_size(page.viewport_size | {"height": height})
    page.evaluate("document.activeElement.blur()")  # a caret blinks, and to hide it takes an inline style
    shot = page.screenshot(animations="disabled", caret="initial", scale="css")
    picture = Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    target.parent.mkdir(parents=True, exist_ok=True)
    picture.save(target, optimize=True)
    return target.stat().st_size
