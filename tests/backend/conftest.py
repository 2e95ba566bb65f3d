"""Workers for the tests of the backend."""

from tests.worker.conftest import burst, worker  # noqa: F401  fixtures
