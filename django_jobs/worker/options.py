"""How one worker is to run: what the command line and the settings say, put together and checked."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import UUID

from ..conf import jobs_settings, seconds
from ..ids import job_id
from .appetite import AHEAD


@dataclass(frozen=True, kw_only=True)
class Options:
    """Settings of one worker. ``queues`` empty means every queue that exists."""

    queues: tuple[str, ...] = field(default_factory=lambda: tuple(jobs_settings.served_queues))
    processes: int = field(default_factory=lambda: jobs_settings.PROCESSES)
    threads: int = field(default_factory=lambda: jobs_settings.THREADS)
    async_slots: int = field(default_factory=lambda: jobs_settings.ASYNC_SLOTS)
    grace: float = field(default_factory=lambda: seconds(jobs_settings.GRACE))  # seconds
    burst: bool = False
    scheduler: bool = True
    max_jobs: int | None = None
    max_memory: int | None = None  # MB
    reload: bool = False
    id: UUID = field(default_factory=job_id)

    @property
    def capacity(self) -> int:
        """How many jobs a child can hold: running, claimed ahead, or finished and not yet recorded."""
        return 2 * (self.threads + self.async_slots + AHEAD)

    def taker(self, child: int) -> str:
        """Return the name under which a child takes ids."""
        return f"{self.id.hex}:{child}"
