"""See the package's docstring."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tarfile
import unittest
from collections.abc import Iterator
from pathlib import Path

import django

SECONDS = 300  # for all of it


def main() -> int:
    signal.signal(signal.SIGALRM, give_up)
    signal.alarm(SECONDS)
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".tox/django").resolve()
    sources = str(source_release(folder) / "tests")
    sys.path.append(sources)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), sources]))  # for the worker
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"  # async tests call get_result(), too
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.djangosuite.settings"
    django.setup()
    return run()


def give_up(*_: object) -> None:
    raise TimeoutError(f"Django's tests have not ended within {SECONDS} s")


def source_release(folder: Path) -> Path:
    """Return the unpacked source release of the Django that is installed, downloaded if need be."""
    unpacked = folder / f"django-{django.__version__}"
    if not unpacked.exists():
        wanted = ["--no-deps", "--no-binary", ":all:", f"Django=={django.__version__}"]
        subprocess.run([sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), *wanted], check=True)
        with tarfile.open(folder / f"django-{django.__version__}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    return unpacked


def run() -> int:
    """Run Django's tests but the deselected ones; return the exit code."""
    from django.test import SimpleTestCase, TransactionTestCase  # here and below: settings must be there first
    from django.test.runner import DiscoverRunner

    from tests.djangosuite.backends import receive_logs, stand_in
    from tests.djangosuite.deselected import DESELECTED
    from tests.worker.conftest import WorkerProcess

    stand_in()
    SimpleTestCase.databases = TransactionTestCase.databases = "__all__"  # Django's two backends need none
    runner = DiscoverRunner(verbosity=1, interactive=False)
    suite = unittest.defaultTestLoader.discover("tasks", top_level_dir=str(Path(sys.path[-1])))
    tests = {test.id().removeprefix("tasks."): test for test in each(suite)}
    if unknown := DESELECTED.keys() - tests.keys():
        sys.exit(f"Deselected, but not among Django's tests: {', '.join(sorted(unknown))}")
    runner.setup_databases()  # never torn down: their server is of this run alone, and ends with it
    worker = WorkerProcess(DJANGOSUITE_LOG_PORT=str(receive_logs()))
    try:
        worker.ready()
        chosen = unittest.TestSuite(test for name, test in tests.items() if name not in DESELECTED)
        result = runner.run_suite(chosen)
    finally:
        worker.close()
    for name, reason in DESELECTED.items():
        print(f"deselected: {name}: {reason}")
    print(f"Django {django.__version__}: {result.testsRun} of {len(tests)} tests run, {len(DESELECTED)} deselected")
    return 0 if result.wasSuccessful() and result.testsRun == len(tests) - len(DESELECTED) else 1


def each(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from each(test)
        else:
            yield test


if __name__ == "__main__":
    sys.exit(main())
