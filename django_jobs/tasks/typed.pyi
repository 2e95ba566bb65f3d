"""What type checkers read, and nobody imports: tasks and jobs that know the types of their function."""

from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Concatenate, Generic, ParamSpec, Protocol, Self, TypeAlias, TypedDict, TypeVar, overload
from uuid import UUID

from ..models import Job
from .context import TaskContext
from .definition import Task

P = ParamSpec("P")
R = TypeVar("R")
Result = TypeVar("Result", covariant=True)

Duration: TypeAlias = float | timedelta
Exceptions: TypeAlias = type[BaseException] | tuple[type[BaseException], ...]
Backoff: TypeAlias = Duration | Sequence[Duration] | Callable[[BaseException, Job], float | None] | None

class JobOf(Job, Generic[Result]):
    """A job whose function returns a Result."""

    id: UUID
    pk: UUID
    task_path: str
    queue_name: str
    priority: int
    state: str
    reason: str
    last_error: str
    metadata: dict[str, Any]  # type: ignore[assignment]
    @property
    def return_value(self) -> Result | None: ...  # type: ignore[override]
    def wait(self, timeout: float | None = None) -> Self: ...
    async def wait_async(self, timeout: float | None = None) -> Self: ...

class AsyncTask(Task[P, R]):
    """A task whose function is awaited."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, R]: ...  # type: ignore[override]

class TaskWithContext(Task[P, R]):
    """A task whose function gets the context first; callers of ``enqueue`` leave it out."""

    def __call__(self, context: TaskContext, /, *args: P.args, **kwargs: P.kwargs) -> R: ...  # type: ignore[override]

class AsyncTaskWithContext(Task[P, R]):
    """Both."""

    def __call__(  # type: ignore[override]
        self, context: TaskContext, /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

class Decorator(Protocol):
    """What ``@task(...)`` is."""

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> AsyncTask[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...

class DecoratorWithContext(Protocol):
    """What ``@task(takes_context=True, ...)`` is."""

    @overload
    def __call__(  # type: ignore[overload-overlap]  # the first that fits counts
        self, function: Callable[Concatenate[TaskContext, P], Coroutine[Any, Any, R]], /
    ) -> AsyncTaskWithContext[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[TaskContext, P], R], /) -> TaskWithContext[P, R]: ...

class JobOptions(TypedDict, total=False):
    """What ``@job_options`` takes."""

    max_attempts: int | None
    max_losses: int
    backoff: Backoff
    retry_on: Exceptions
    give_up_on: Exceptions
    capture_logs: bool | str
    on_success: Task[..., Any] | None
    on_failure: Task[..., Any] | None
    on_retry: Task[..., Any] | None
    timeout: Duration | None
    expires: Duration | None
    keep: Duration | None
    atomic: bool
    sensitive: Sequence[str] | set[str] | frozenset[str]
    aliases: list[str] | tuple[str, ...]
    admin: bool | str
    metadata: Mapping[str, Any]
    labels: Sequence[str]

class TaskOptions(JobOptions, total=False):
    """What ``@task`` takes besides ``takes_context``."""

    priority: int
    queue_name: str
    backend: str

class CallOptions(TypedDict, total=False):
    """What ``task.using`` takes."""

    priority: int
    queue_name: str
    run_after: datetime | timedelta | None
    backend: str
    max_attempts: int | None
    max_losses: int
    timeout: Duration | None
    expires: Duration | None
    metadata: Mapping[str, Any]
    labels: Sequence[str]
