"""Draws a job's transitions, out of the table in ``django_jobs.states``: as SVG and in letters."""

from __future__ import annotations

from django_jobs.states import FINAL, STATES, TRANSITIONS, Transition

COLUMN, ROW, LEFT, TOP = 88, 26, 90, 40  # pixels
ORDER = ("scheduled", "retrying", "queued", "running", *FINAL)  # from left to right
assert set(ORDER) == set(STATES)


def as_svg() -> str:
    height = TOP + ROW * len(TRANSITIONS) + 14
    parts = [
        f'<svg class="lifecycle" role="img" aria-label="The transitions between the seven states; the table below '
        f'lists them" viewBox="0 0 {x(ORDER[-1]) + 50} {height}" xmlns="http://www.w3.org/2000/svg" '
        'fill="currentColor" stroke="currentColor" font-family="sans-serif" font-size="13" style="max-width: 100%">',
        *(column(state, height) for state in ORDER),
        *(arrow(one, TOP + ROW * index + ROW / 2) for index, one in enumerate(TRANSITIONS)),
        "</svg>",
    ]
    return "\n".join(parts)


def x(state: str) -> int:
    return LEFT + COLUMN // 2 + COLUMN * ORDER.index(state)


def column(state: str, height: int) -> str:
    dashes = "" if state in FINAL else ' stroke-dasharray="2 4"'
    return (
        f'<text x="{x(state)}" y="18" text-anchor="middle" stroke="none" font-weight="bold">{state}</text>'
        f'<line x1="{x(state)}" y1="28" x2="{x(state)}" y2="{height}" stroke-opacity="0.35"{dashes}/>'
    )


def arrow(one: Transition, y: float) -> str:
    """Return dots at the sources, a line over them, and a head at the target."""
    places = [x(source) for source in one.sources]
    target = x(one.target)
    heads = [head(target, y, from_left=side) for side in (True, False) if any((p < target) == side for p in places)]
    return "".join(
        [
            f'<text x="0" y="{y + 4}" stroke="none">{one.name}</text>',
            f'<line x1="{min(*places, target)}" y1="{y}" x2="{max(*places, target)}" y2="{y}" stroke-width="1.5"/>',
            *(f'<circle cx="{place}" cy="{y}" r="4"/>' for place in places),
            *heads,
        ]
    )


def head(target: int, y: float, *, from_left: bool) -> str:
    tail = target - 9 if from_left else target + 9
    return f'<path d="M {target} {y} L {tail} {y - 5} L {tail} {y + 5} Z" stroke="none"/>'


def as_text() -> str:
    """Return the drawing in letters, for builders without HTML."""
    sources = [", ".join(one.sources) for one in TRANSITIONS]
    width, middle = max(map(len, sources)), max(len(one.name) for one in TRANSITIONS)
    return "\n".join(
        f"{source:{width}} --{one.name:-^{middle}}--> {one.target}"
        for source, one in zip(sources, TRANSITIONS, strict=True)
    )
