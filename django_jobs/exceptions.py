"""Every error of django_jobs; the docstring of each says what to do about it."""

from __future__ import annotations


class JobsError(Exception):
    """The base of all errors that django_jobs raises for a mistake or a missing service."""


class InvalidTask(JobsError):
    """A task, or a call of one, that cannot be enqueued as it stands."""


class TaskNotFound(JobsError):
    """No task of that path is registered in this process; import its module or list it in TASK_MODULES."""


class NotEncodable(JobsError, TypeError):
    """A value that JSON cannot carry.

    ``path`` leads to it from the outermost value (names and indexes), ``value`` is the culprit, and the
    message says why it was refused.
    """

    def __init__(self, message: str, *, path: tuple = (), value: object = None):
        super().__init__(message)
        self.path = path
        self.value = value


class NotDecodable(JobsError, ValueError):
    """Stored text that is not of our encoding: damaged, or written by a newer version."""


class InvalidCron(JobsError, ValueError):
    """A cron expression that is refused; the message says why."""


class EmbeddedServerError(JobsError):
    """The embedded Valkey could not be started; the message says what to install or to set."""


class Retry(JobsError):
    """Raised by a task's body to be run again.

    ``after`` is a delay in seconds or a ``timedelta``; None takes the task's backoff. It spends an
    attempt; with none left the job fails.
    """

    def __init__(self, message: str = "", *, after=None):
        super().__init__(message or "the task asked to be run again")
        self.after = after


class Discard(JobsError):
    """Raised by a task's body to end its job as cancelled, with the reason given."""


class Interrupted(BaseException):
    """Raised inside a running body from outside; not an Exception, so that a broad except lets it pass."""


class TaskTimeout(Interrupted):
    """The body ran longer than the job's timeout."""


class JobCancelled(Interrupted):
    """Somebody cancelled the job while its body ran."""


class WorkerDied(JobsError):
    """The worker died while the body ran: what a TaskResult names for an attempt that was lost."""
