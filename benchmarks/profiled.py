"""``runworker`` with a clock around each step of its children: ``python -m benchmarks.profiled runworker ...``.

Each child leaves a file with what its steps took, and with the moments of the last ones. The clocks themselves take
about a microsecond a job.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import sys
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

STEPS = {  # what is called once in a batch, or once for a job: where it is found, and what it does
    "django_jobs.broker.waiter:Waiter.read": "wake up",
    "django_jobs.worker.source:Source.take": "take ids from Redis",
    "django_jobs.worker.engine:Engine._claim": "claim rows",
    "django_jobs.worker.engine:Engine._start": "find tasks, bind arguments, hand over",
    "django_jobs.worker.child:execute": "run the body, in a clean context",
    "django_jobs.worker.source:Source.forget": "tell Redis that it is ours",
    "django_jobs.worker.recorder:Recorder.flush": "record outcomes",
    "django_jobs.worker.report:Reporter.finished": "print a line",
}

_cpu: dict[str, float] = defaultdict(float)
_wall: dict[str, float] = defaultdict(float)
_moments: deque[tuple[str, float, float]] = deque(maxlen=5000)  # step, when it began and ended; monotonic


def main() -> None:
    import django

    django.setup()
    missing = [what for path, what in STEPS.items() if not _clock(path, what)]
    from django.core.management import execute_from_command_line

    from django_jobs.signals import worker_stopped

    worker_stopped.connect(functools.partial(_write, missing=missing), weak=False)
    execute_from_command_line(sys.argv)


def find(path: str) -> tuple[Any, str]:
    """Return what has the function of a step, and the name that it has there."""
    module, _, names = path.partition(":")
    *owners, name = names.split(".")
    return functools.reduce(getattr, owners, importlib.import_module(module)), name


def _clock(path: str, what: str) -> bool:
    """Put a clock around a function; return whether it is still there."""
    try:
        owner, name = find(path)
        step = getattr(owner, name)
    except (ImportError, AttributeError):
        return False

    @functools.wraps(step)
    def timed(*args, **kwargs):
        began, cpu = time.monotonic(), time.thread_time()
        try:
            return step(*args, **kwargs)
        finally:
            ended = time.monotonic()
            _cpu[what] += time.thread_time() - cpu
            _wall[what] += ended - began
            _moments.append((what, began, ended))

    setattr(owner, name, timed)
    return True


def _write(missing: list[str], **kwargs) -> None:
    took = {"cpu": _cpu, "wall": _wall, "process": time.process_time(), "missing": missing, "moments": [*_moments]}
    Path(os.environ["BENCH_FOLDER"], f"steps-{os.getpid()}.json").write_text(json.dumps(took))


if __name__ == "__main__":
    main()
