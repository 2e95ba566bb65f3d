"""One worker: a supervisor, a clerk and children, or all of them in one process."""

from __future__ import annotations

from collections.abc import Callable

from .clerk import Duties
from .inline import Inline
from .options import Options
from .report import JsonReporter, Reporter, report_warnings
from .summary import problems, summary
from .supervisor import Supervisor

__all__ = [
    "Inline",
    "JsonReporter",
    "Options",
    "Reporter",
    "Supervisor",
    "make_worker",
    "problems",
    "report_warnings",
    "summary",
]


def make_worker(
    *,
    options: Options,
    reporter: Reporter,
    make_duties: Callable[[], Duties],
    changed: Callable[[], bool] | None = None,
) -> Supervisor | Inline:
    """Return a worker; its ``run()`` works until told to stop and returns the exit code.

    ``changed`` says whether the code has changed since; the worker then ends, with ``reload`` set.
    """
    if options.processes == 0:
        return Inline(options=options, reporter=reporter, make_duties=make_duties)
    return Supervisor(options=options, reporter=reporter, make_duties=make_duties, changed=changed)
