"""The backend for Django's Tasks framework, and twins of Django's own two that take the same options.

Nothing here loads the models before the first job: tasks may be declared while apps are still being loaded.
"""

from . import announce  # noqa: F401  connects its receivers
from .jobs import JobsBackend
from .task import BackendTask
from .twins import DummyBackend, ImmediateBackend

__all__ = ["BackendTask", "DummyBackend", "ImmediateBackend", "JobsBackend"]
