"""Task: a function and how to run it; enqueueing checks everything that can be checked before a worker sees it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from functools import cache, cached_property
from itertools import chain
from types import ModuleType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, get_args

from asgiref.sync import sync_to_async

from .. import codec, states
from ..codec import EncodedText
from ..conf import jobs_settings, seconds
from ..exceptions import InvalidTask, NotEncodable
from . import registry
from .base import BaseTask
from .options import UNSET, Unset, check_call_options, check_options, check_queue

if TYPE_CHECKING:
    from typing import Self, Unpack

    from django.db.models import Model

    from ..models import Job
    from .context import TaskContext
    from .typed import CallOptions, JobOf

P = ParamSpec("P")  # what the function takes, without the context
R = TypeVar("R")  # what it returns, or what awaiting it gives

EMPTY = EncodedText("{}")
MAX_SHAPES = 100  # of calls of one task, that are remembered
CALLBACKS = ("on_success", "on_failure", "on_retry")


@dataclass(frozen=True, kw_only=True)
class Call(Generic[P]):
    """Arguments for one job, made by ``task.s(...)``."""

    args: tuple[Any, ...] = field(default=(), repr=False)  # they may be secret
    kwargs: Mapping[str, Any] = field(default_factory=dict, repr=False)
    task: Task | None = field(default=None, repr=False)  # that made it


@dataclass(frozen=True, kw_only=True)
class Task(BaseTask, Generic[P, R]):
    """A function and how to run it. Options that are UNSET take the setting of that name at enqueue.

    Durations are seconds or a timedelta.
    """

    func: Callable[..., Any]
    priority: int = 0  # -100 to 100; higher runs first
    backend: str = "default"
    queue_name: str = "default"
    run_after: Any = None  # aware datetime, or a timedelta counted from each enqueue
    takes_context: bool = False
    max_attempts: int | Unset | None = UNSET
    max_losses: int | Unset = UNSET
    backoff: Any = field(default=UNSET, hash=False)
    retry_on: Any = Exception
    give_up_on: Any = ()
    timeout: Any = UNSET
    expires: Any = None  # from enqueue (or from run_after, if later) to the start
    keep: Any = UNSET  # from the end to the pruning
    atomic: bool = False
    sensitive: Any = field(default=(), hash=False)
    aliases: Any = field(default=(), hash=False)
    admin: bool | str = False
    capture_logs: bool | str = False  # True: from INFO on; or the name of a level
    on_success: Any = None  # a task, enqueued with the job's id when it has succeeded
    on_failure: Any = None  # ... failed for good
    on_retry: Any = None  # ... failed, and is to be tried again
    metadata: dict[str, Any] = field(default_factory=dict, hash=False)
    labels: Any = field(default=(), hash=False)  # texts by which its jobs are found again; see ``about``

    def __post_init__(self) -> None:
        check_function(self.func)
        check_options(self.name, {one.name: getattr(self, one.name) for one in fields(self) if one.name != "func"})
        for option in ("__doc__", "__name__", "__qualname__", "__module__"):
            object.__setattr__(self, option, getattr(self.func, option))
        object.__setattr__(self, "__wrapped__", self.func)
        if self.takes_context:
            self.signature  # noqa: B018  raises when there is no place for the context

        for option in CALLBACKS:
            if callback := getattr(self, option):
                check_callback(self.name, option, callback)
        if self.atomic and self.is_async:
            raise InvalidTask(f"{self.name}: atomic is for ordinary functions; Django has no async transactions.")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function here and now."""
        return self.func(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<Task {self.module_path}>"

    def using(self, **options: Unpack[CallOptions]) -> Self:
        """Return the same task with other options, for the enqueues that follow."""
        check_call_options(f"{self.name}.using()", options)
        return replace(self, **options)

    def about(self, *things: Model) -> Self:
        """Return the same task, its jobs labelled with these objects: the admin and ``jobs_about`` find them by it.

        Raises TypeError for what is no object of the database, InvalidTask for one that is not saved.
        """
        from ..models.label import label_of  # here: as in queue()

        return replace(self, labels=_joined(self.labels, [label_of(one, f"{self.name}.about()") for one in things]))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[P]:
        """Return arguments for ``enqueue_many`` and ``job.then``."""
        return Call(args=args, kwargs=kwargs, task=self)

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobOf[R]:
        """Save a job in the current transaction, to be sent at its commit; return it.

        Raises TypeError for arguments that the function does not take or that JSON cannot carry, and
        InvalidTask for an unknown queue or too many bytes.
        """
        job = self.prepare(args, kwargs)
        queue().save([job])
        return job

    async def aenqueue(self, *args: P.args, **kwargs: P.kwargs) -> JobOf[R]:
        """Do as ``enqueue``, on the connection and in the transaction of Django's async ORM."""
        return await sync_to_async(self.enqueue)(*args, **kwargs)

    def enqueue_many(self, calls: Iterable[Mapping[str, Any] | Call[P]]) -> list[JobOf[R]]:
        """Save a job for each of the calls, a dict of keyword arguments or a ``task.s(...)``; return them.

        One INSERT per thousand and one push; either all are saved or none.
        """
        jobs = [prepared(self, call) for call in map(self._call, calls)]
        if jobs:
            queue().save(jobs)
        return jobs

    async def aenqueue_many(self, calls: Iterable[Mapping[str, Any] | Call[P]]) -> list[JobOf[R]]:
        """Do as ``enqueue_many``, on the connection and in the transaction of Django's async ORM."""
        return await sync_to_async(self.enqueue_many)(calls)

    def prepare(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, after: Job | None = None) -> JobOf[R]:
        """Return a new job, checked but not saved; ``after``: it waits until that one has succeeded."""
        registry.warn_if_undiscovered(self)
        self._check_queue()
        self.check(args, kwargs)
        encoded_args, encoded_kwargs = self._encoded(args, dict(kwargs))
        run_after = self.run_after
        job = queue().Job.new(
            task_path=self.module_path,
            args=encoded_args,
            kwargs=encoded_kwargs,
            metadata=EncodedText(codec.dumps(self.metadata)) if self.metadata else EMPTY,
            queue_name=self.queue_name,
            priority=self.priority,
            state=states.QUEUED if run_after is None and after is None else states.SCHEDULED,
            parent=after and after.pk,
            run_after=run_after,  # a timedelta is counted from the insert, by the database's clock
            expires_at=self._expires_at(run_after),
            timeout=seconds(setting("TIMEOUT", self.timeout)),
            max_attempts=setting("MAX_ATTEMPTS", self.max_attempts),
            max_losses=setting("MAX_LOSSES", self.max_losses),
        )
        if self.labels:
            job.new_labels = _joined(self.labels)
        return job

    def check(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError when the arguments do not fit the function, the context left out."""
        shape = (len(args), *kwargs)
        if shape not in self._shapes:
            self.bind(args, kwargs)
            if len(self._shapes) < MAX_SHAPES:
                self._shapes.add(shape)

    def bind(self, args: tuple[Any, ...] | list[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Bind the arguments to the function's, the context left out; raise TypeError when they do not fit."""
        try:
            return self.signature.bind(*args, **kwargs)
        except TypeError as error:
            reason = self._unexpected(kwargs) or str(error).replace("keyword argument", "argument")
            verb = "" if reason.startswith("got ") else "was called wrongly: "
            raise TypeError(f"{self.name}.enqueue() {verb}{reason}. It takes {self.takes}.") from None

    @cached_property
    def _shapes(self) -> set[tuple]:
        """Return which numbers of positional arguments, with which names of others, are known to fit."""
        return set()

    @cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature as callers of ``enqueue`` see it: without the context."""
        signature = inspect.signature(self.func)
        parameters = list(signature.parameters.values())
        if self.takes_context:
            parameters = self._after_context(parameters)
        return signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty)

    @property
    def takes(self) -> str:
        """The signature as text, for messages, its types by their short names."""
        parameters = [
            one if one.annotation is one.empty else one.replace(annotation=_Bare(one.annotation))
            for one in self.signature.parameters.values()
        ]
        return str(self.signature.replace(parameters=parameters))

    @cached_property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.func)

    def with_context(self, context: TaskContext) -> TaskContext:
        """Return what the body gets as its context."""
        return context

    def _check_queue(self) -> None:
        check_queue(self.queue_name)

    def _after_context(self, parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
        """Return the parameters that are left for the caller once the body has got its context."""
        match parameters:
            case [first, *rest] if first.kind in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD):
                return rest
            case [first, *_] if first.kind is first.VAR_POSITIONAL:
                return parameters
        raise InvalidTask(f"{self.name}: takes_context is set, but the function takes no argument for the context.")

    def _unexpected(self, kwargs: Mapping[str, Any]) -> str:
        """Name a keyword that the function does not take; what is missing may well be a slip of the same pen."""
        parameters = self.signature.parameters.values()
        if any(one.kind is one.VAR_KEYWORD for one in parameters):
            return ""
        names = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
        unknown = next((name for name in kwargs if name not in names), None)
        return "" if unknown is None else f"got an unexpected argument {unknown!r}"

    def _call(self, call: Any) -> Call:
        match call:
            case Call() if call.task is None or call.task.func is self.func:
                return call
            case Call():
                raise TypeError(f"{self.name}.enqueue_many() was given arguments made by {call.task.name}.s(...).")
            case Mapping():
                return Call(kwargs=call)
        raise TypeError(
            f"{self.name}.enqueue_many() takes dicts of keyword arguments or {self.name}.s(...), "
            f"not {type(call).__name__}."
        )

    def _encoded(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[EncodedText, EncodedText]:
        try:
            texts = codec.dumps(args), codec.dumps(kwargs)
        except NotEncodable as error:
            raise NotEncodable(self._refusal(error), path=error.path, value=error.value) from None
        size = len(texts[0]) + len(texts[1])
        if size > jobs_settings.MAX_ARGS_BYTES:
            raise InvalidTask(
                f"{self.name}.enqueue(): the arguments take {size:,} bytes, MAX_ARGS_BYTES allows "
                f"{jobs_settings.MAX_ARGS_BYTES:,}. Store the data and pass its key."
            )
        return EncodedText(texts[0]), EncodedText(texts[1])

    def _refusal(self, error: NotEncodable) -> str:
        first, *rest = error.path or ("?",)
        name = self._argument_name(first) if isinstance(first, int) else first
        inside = "".join(f"[{step!r}]" for step in rest[:8])
        reason = str(error) if inside else str(error).replace("pass its pk", f"pass {name}.pk")
        return f"{self.name}.enqueue(): argument '{name}'{f' at {inside}' if inside else ''} {reason}"

    def _argument_name(self, index: int) -> str:
        names = list(self.signature.parameters)
        return names[index] if index < len(names) else f"number {index + 1}"

    def _expires_at(self, run_after: Any) -> Any:
        if self.expires is None:
            return None
        lifetime = timedelta(seconds=seconds(self.expires))
        return lifetime if run_after is None else run_after + lifetime


class _Bare:
    """An annotation shown without modules and quotes."""

    def __init__(self, annotation: Any):
        self._text = annotation if isinstance(annotation, str) else self._name(annotation)

    def __repr__(self) -> str:
        return self._text

    @staticmethod
    def _name(annotation: Any) -> str:
        is_plain = isinstance(annotation, type) and not get_args(annotation)
        return annotation.__qualname__ if is_plain else inspect.formatannotation(annotation)


def prepared(task: Task, call: Call) -> Job:
    """Return a new job for one of many calls, labelled with what ``task.about(...).s(...)`` has said of it."""
    job = task.prepare(call.args, call.kwargs)
    if call.task is not None and call.task.labels:
        job.new_labels = _joined(job.new_labels, call.task.labels)
    return job


def _joined(*labels: Iterable[str]) -> tuple[str, ...]:
    """Return all the labels, each once."""
    return tuple(dict.fromkeys(chain.from_iterable(labels)))


@cache
def queue() -> ModuleType:
    """Return the module that saves jobs."""
    from .. import enqueue  # here: it brings the models, and tasks are declared before these can be loaded

    return enqueue


def setting(name: str, option: Any) -> Any:
    """Return the option, or the setting of that name when it was not given."""
    return getattr(jobs_settings, name) if option is UNSET else option


def check_callback(name: str, option: str, callback: Task) -> None:
    """Raise InvalidTask for a callback that could not be enqueued with nothing but an id."""
    if not isinstance(callback, Task):
        raise InvalidTask(f"{name}: {option} is a task of another library; it must be one of django_jobs.")
    try:
        callback.signature.bind("id")
    except TypeError:
        raise InvalidTask(
            f"{name}: {option} is called with the job's id, but {callback.name} takes {callback.takes}."
        ) from None


def check_function(func: Callable[..., Any]) -> None:
    """Raise InvalidTask for what a worker could not find again by its path."""
    if not callable(func) or not hasattr(func, "__qualname__"):
        raise InvalidTask(f"{func!r} is not a function.")
    if "<" in func.__qualname__:
        raise InvalidTask(
            f"{func.__module__}.{func.__qualname__} is defined inside a function or is a lambda; "
            "a task must stand at the top of its module, so that a worker finds it."
        )
