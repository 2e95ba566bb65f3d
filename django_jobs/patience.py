"""How long to wait before something that has failed is tried again."""

from __future__ import annotations


class Patience:
    """Pauses in seconds: the first one short, each further one twice as long, up to a bound."""

    def __init__(self, *, first: float = 0.1, longest: float = 5.0):
        self._first = first
        self._longest = longest
        self._pause = 0.0

    def __bool__(self) -> bool:
        """Say whether it has failed since it last succeeded."""
        return bool(self._pause)

    def failed(self) -> float:
        """Return the seconds to wait now."""
        self._pause = min(self._pause * 2 or self._first, self._longest)
        return self._pause

    def succeeded(self) -> None:
        self._pause = 0.0
