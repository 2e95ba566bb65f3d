"""Tasks: what may be decorated, how calls are checked, and what people are told."""

from __future__ import annotations

import functools
import inspect
import logging
from datetime import datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import django
import pytest

from django_jobs import InvalidTask, NotEncodable, Task, TaskNotFound, task
from django_jobs.models import Job
from django_jobs.tasks import Call, registry
from tests.app.models import Effect


class Order:
    """Looks like an instance of a model, of an app called shop."""

    _meta, pk = SimpleNamespace(), 7


Order.__module__, Order.__qualname__ = "shop.models", "Order"


@pytest.fixture(autouse=True)
def registered_here(monkeypatch):
    """Forget at the end of each test the tasks that it has made."""
    for name in ("_tasks", "_aliases"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))
    monkeypatch.setattr(registry, "_undiscovered", set())


def declare(source: str, path: str = "shop.tasks", **names: Any) -> dict[str, Any]:
    """Run source code as a module of that path would be, and return its names."""
    module = {"__name__": path, "task": task, "Decimal": Decimal, "timedelta": timedelta, **names}
    exec(compile(inspect.cleandoc(source), f"/nowhere/{path}.py", "exec", dont_inherit=True), module)
    return module


def charge_card() -> Task:
    return declare("""
        @task
        def charge_card(order_id: int, amount: Decimal): ...
    """)["charge_card"]


def declared(signature: str, **options: Any) -> Task:
    return declare(f"@task(**options)\ndef send{signature}: ...", options=options)["send"]


def refusal(kind: type[Exception], function, *args: Any, **kwargs: Any) -> str:
    with pytest.raises(kind) as refused:
        function(*args, **kwargs)
    return str(refused.value)


# What people are told


def test_an_unexpected_argument_is_named_with_what_the_task_takes():
    assert refusal(TypeError, charge_card().enqueue, usr=5, amount=Decimal("1.50")) == (
        "charge_card.enqueue() got an unexpected argument 'usr'. It takes (order_id: int, amount: Decimal)."
    )


def test_a_missing_argument_is_named_with_what_the_task_takes():
    assert refusal(TypeError, charge_card().enqueue, 1) == (
        "charge_card.enqueue() was called wrongly: missing a required argument: 'amount'. "
        "It takes (order_id: int, amount: Decimal)."
    )


def test_too_many_arguments_are_refused_with_what_the_task_takes():
    assert refusal(TypeError, charge_card().enqueue, 1, 2, 3) == (
        "charge_card.enqueue() was called wrongly: too many positional arguments. "
        "It takes (order_id: int, amount: Decimal)."
    )


def test_an_argument_given_twice_is_named():
    assert "multiple values for argument 'order_id'" in refusal(TypeError, charge_card().enqueue, 1, order_id=2)


def test_a_model_instance_is_refused_with_what_to_pass_instead():
    send = declared("(order)")

    message = "send.enqueue(): argument 'order' is a shop.models.Order. Jobs carry JSON: pass order.pk and load it in "
    assert refusal(TypeError, send.enqueue, Order()) == message + "the task."
    assert refusal(TypeError, send.enqueue, order=Order()) == message + "the task."


@pytest.mark.parametrize(
    ("args", "kwargs", "where"),
    [
        (({1},), {}, "argument 'first' is a set."),
        ((1, {1}), {}, "argument 'second' is a set."),
        ((1,), {"second": b""}, "argument 'second' is a bytes."),
        ((1, [1, {"deep": {1}}]), {}, "argument 'second' at [1]['deep'] is a set."),
        ((float("nan"),), {}, "argument 'first' is nan."),
        (({1: 2},), {}, "argument 'first' has the key 1, an int."),
    ],
)
def test_what_json_cannot_carry_is_refused_with_the_name_of_the_argument(args, kwargs, where):
    send = declared("(first, second=None)")

    message = refusal(TypeError, send.enqueue, *args, **kwargs)

    assert message.startswith(f"send.enqueue(): {where}")


def test_the_refusal_carries_the_culprit_and_the_way_to_it():
    send, culprit = declared("(value)"), {1}

    with pytest.raises(NotEncodable) as refused:
        send.enqueue(value=[culprit])

    assert (refused.value.path, refused.value.value) == (("value", 0), culprit)


def test_the_context_is_not_counted_among_the_arguments():
    send = declared("(context, order)", takes_context=True)

    assert "argument 'order' is a set." in refusal(TypeError, send.enqueue, {1})


def test_an_unknown_queue_is_refused_at_enqueue(settings):
    settings.DJANGO_JOBS = {"QUEUES": ["default", "high", "payments"]}
    send = declared("()", queue_name="hihg")

    assert refusal(InvalidTask, send.enqueue) == (
        'no queue "hihg". Queues are default, high, payments. Did you mean "high"?'
    )


def test_too_many_bytes_of_arguments_are_refused_with_both_sizes(settings):
    settings.DJANGO_JOBS = {"MAX_ARGS_BYTES": 1000}
    send = declared("(*words, **named)")

    assert refusal(InvalidTask, send.enqueue, "x" * 600, more="x" * 600) == (
        "send.enqueue(): the arguments take 1,215 bytes, MAX_ARGS_BYTES allows 1,000. Store the data and pass its key."
    )


def test_arguments_may_take_exactly_what_is_allowed(settings):
    settings.DJANGO_JOBS = {"MAX_ARGS_BYTES": 100}
    send = declared("(word)")

    assert send.prepare(("x" * 94,), {}).args == ["x" * 94]  # and six letters of brackets and quotes
    assert "the arguments take 101 bytes" in refusal(InvalidTask, send.prepare, ("x" * 95,), {})


def test_fifty_megabytes_are_refused_by_default():
    send = declared("(word)")

    assert "MAX_ARGS_BYTES allows 1,048,576" in refusal(InvalidTask, send.enqueue, "x" * 50_000_000)


def test_enqueue_many_says_what_it_takes():
    assert refusal(TypeError, charge_card().enqueue_many, [(1, 2)]) == (
        "charge_card.enqueue_many() takes dicts of keyword arguments or charge_card.s(...), not tuple."
    )


def test_an_unknown_task_is_named_with_the_nearest_one():
    charge_card()

    assert refusal(TaskNotFound, registry.get, "shop.tasks.charge_cart") == (
        "no task shop.tasks.charge_cart is registered here. Did you mean shop.tasks.charge_card?"
    )


# The signature


@pytest.mark.parametrize(
    ("signature", "text"),
    [
        ("()", "()"),
        ("(a, /, b, *, c=1)", "(a, /, b, *, c=1)"),
        ("(*args, **kwargs)", "(*args, **kwargs)"),
        ("(currency: str = 'EUR')", "(currency: str = 'EUR')"),
        ("(amount: 'Decimal | None' = None)", "(amount: Decimal | None = None)"),
        ("(lines: list[int], pause: timedelta)", "(lines: list[int], pause: timedelta)"),
        ("(a: int) -> str", "(a: int)"),
    ],
)
def test_the_signature_is_shown_as_it_was_written(signature, text):
    assert declared(signature).takes == text


@pytest.mark.parametrize(
    ("signature", "takes"),
    [
        ("(context)", "()"),
        ("(context, a, b=2)", "(a, b=2)"),
        ("(context, *, a)", "(*, a)"),
        ("(context, /, a)", "(a)"),
        ("(*args)", "(*args)"),
    ],
)
def test_the_context_is_not_the_callers_to_give(signature, takes):
    assert declared(signature, takes_context=True).takes == takes


@pytest.mark.parametrize("signature", ["()", "(*, context)", "(**kwargs)"])
def test_a_function_without_a_place_for_the_context_is_refused_at_once(signature):
    assert refusal(InvalidTask, declared, signature, takes_context=True) == (
        "send: takes_context is set, but the function takes no argument for the context."
    )


@pytest.mark.parametrize(
    ("signature", "args", "kwargs"),
    [
        ("(a, b=2)", (1,), {}),
        ("(a, b=2)", (), {"a": 1, "b": 3}),
        ("(a, /, *rest, c, **others)", (1, 2, 3), {"c": 4, "d": 5, "a": 6}),
        ("()", (), {}),
    ],
)
def test_arguments_that_fit_are_taken(signature, args, kwargs):
    job = declared(signature).prepare(args, kwargs)

    assert (job.args, job.kwargs) == (list(args), kwargs)


@pytest.mark.parametrize(
    ("signature", "args", "kwargs"),
    [
        ("(a)", (), {}),
        ("(a, /)", (), {"a": 1}),
        ("(*, a)", (1,), {}),
        ("()", (1,), {}),
        ("(a, *rest)", (1,), {"rest": 2}),
    ],
)
def test_arguments_that_do_not_fit_are_refused(signature, args, kwargs):
    assert "It takes (" in refusal(TypeError, declared(signature).prepare, args, kwargs)


# What may be a task


def test_a_task_is_still_a_plain_function():
    add = declare('''
        @task(queue_name="mail")
        def add(a, b):
            """Add."""
            return a + b
    ''')["add"]

    assert add(2, b=3) == 5
    assert (add.__name__, add.__doc__, add.__module__) == ("add", "Add.", "shop.tasks")
    assert inspect.signature(add) == inspect.signature(add.func)
    assert repr(add) == "<Task shop.tasks.add>"


def test_a_task_is_known_by_its_module_and_name():
    charge = charge_card()

    assert charge.module_path == "shop.tasks.charge_card"
    assert registry.get("shop.tasks.charge_card") is charge
    assert registry.all_tasks()["shop.tasks.charge_card"] is charge


def test_a_lambda_is_refused():
    message = refusal(InvalidTask, declare, "send = task(lambda: None)")

    assert "is defined inside a function or is a lambda; a task must stand at the top of its module" in message


def test_a_function_inside_a_function_is_refused():
    def local(): ...

    assert "test_tasks.test_a_function_inside_a_function_is_refused.<locals>.local is defined inside" in refusal(
        InvalidTask, task, local
    )


@pytest.mark.parametrize("thing", ["send", 5, functools.partial(print, 1)], ids=["text", "number", "partial"])
def test_what_is_no_function_is_refused(thing):
    assert refusal(InvalidTask, task, thing).endswith("is not a function.")


def test_an_async_function_cannot_be_atomic():
    source = "@task(atomic=True)\nasync def send(): ..."

    assert refusal(InvalidTask, declare, source).startswith("send: atomic is for ordinary functions")


def test_run_after_belongs_to_a_call():
    assert "use .using(run_after=...).enqueue(...)" in refusal(TypeError, task, run_after=timedelta(hours=1))


def test_a_wrong_option_is_refused_at_the_decorator():
    assert refusal(InvalidTask, declared, "()", priority=101).startswith("send: priority is 101; it must be")
    assert "registered" in refusal(TaskNotFound, registry.get, "shop.tasks.send")


def test_an_unknown_option_is_refused_at_the_decorator():
    assert refusal(TypeError, declared, "()", retries=3).startswith('send: a task has no option "retries".')


def test_two_tasks_of_one_path_are_refused():
    source = "@task\ndef send(): ...\n@task\ndef send(a): ..."

    assert refusal(InvalidTask, declare, source) == "two tasks are called shop.tasks.send; rename one of them."


def test_two_tasks_of_one_path_are_refused_though_one_decorator_wraps_both():
    source = "@task\n@logged\ndef send(): ...\n@task\n@logged\ndef send(a): ..."

    assert "two tasks are called" in refusal(InvalidTask, declare, source, logged=logged)


def logged(function):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        return function(*args, **kwargs)

    return wrapper


def test_a_module_that_is_imported_again_is_no_mistake():
    first, second = charge_card(), charge_card()

    assert registry.get("shop.tasks.charge_card") is second is not first


def test_a_renamed_task_is_found_by_its_former_path():
    send = declared("()", aliases=["shop.old.send", "shop.older.send"])

    assert registry.get("shop.old.send") is registry.get("shop.older.send") is send
    assert "shop.old.send" not in registry.all_tasks()


def test_an_alias_that_is_another_tasks_path_is_refused():
    charge_card()

    assert refusal(InvalidTask, declared, "()", aliases=["shop.tasks.charge_card"]) == (
        "shop.tasks.send: the alias shop.tasks.charge_card is another task's path."
    )


def test_an_alias_that_another_task_has_is_refused():
    declared("()", aliases=["shop.old"])

    assert "the alias shop.old is" in refusal(
        InvalidTask, declare, "@task(aliases=['shop.old'])\ndef other(): ...", "shop.others"
    )


# Options of one call


def test_using_leaves_the_task_as_it_is():
    send = declared("()", priority=5, max_attempts=3)

    urgent = send.using(priority=50)

    assert (urgent.priority, urgent.max_attempts, send.priority) == (50, 3, 5)
    assert registry.get("shop.tasks.send") is send


def test_using_may_be_chained():
    job = declared("()").using(priority=50).using(queue_name="default", max_attempts=7).prepare((), {})

    assert (job.priority, job.queue_name, job.max_attempts) == (50, "default", 7)


@pytest.mark.parametrize(
    ("options", "kind"),
    [
        ({"priority": 101}, InvalidTask),
        ({"run_after": datetime(2030, 1, 1)}, InvalidTask),
        ({"run_after": timedelta(seconds=-1)}, InvalidTask),
        ({"retries": 3}, TypeError),
        ({"func": print}, TypeError),
        ({"takes_context": True}, TypeError),
    ],
)
def test_using_checks_options_as_the_decorator_does(options, kind):
    assert refusal(kind, declared("()").using, **options).startswith("send.using():")


def test_options_not_given_are_the_settings_at_enqueue(settings):
    send = declared("()")
    settings.DJANGO_JOBS = {"MAX_ATTEMPTS": 4, "MAX_LOSSES": 1, "TIMEOUT": timedelta(minutes=2)}

    job = send.prepare((), {})

    assert (job.max_attempts, job.max_losses, job.timeout) == (4, 1, 120)


def test_options_given_beat_the_settings(settings):
    settings.DJANGO_JOBS = {"MAX_ATTEMPTS": 4, "MAX_LOSSES": 1, "TIMEOUT": 60}

    job = declared("()", max_attempts=None, max_losses=0, timeout=None).prepare((), {})

    assert (job.max_attempts, job.max_losses, job.timeout) == (None, 0, None)


def test_jobs_do_not_share_their_metadata():
    send = declared("()", metadata={"tags": ["a"]})

    first, second = send.prepare((), {}), send.prepare((), {})
    first.metadata["more"] = 1

    assert (second.metadata, send.metadata) == ({"tags": ["a"]}, {"tags": ["a"]})


def test_s_keeps_arguments_for_enqueue_many():
    charge = charge_card()

    assert charge.s(1, amount=2) == Call(args=(1,), kwargs={"amount": 2}, task=charge)


def test_arguments_made_for_another_task_are_refused():
    charge, other = charge_card(), declared("(order_id, amount)")

    with pytest.raises(TypeError, match=r"enqueue_many\(\) was given arguments made by charge_card\.s\(\.\.\.\)"):
        other.enqueue_many([charge.s(1, amount=2)])


# Discovery


@pytest.mark.django_db
def test_a_task_that_workers_will_not_know_is_warned_of_once(caplog, settings):
    settings.DJANGO_JOBS = {"TASK_MODULES": ["tasks", "jobs"], "CACHE": None}
    send = declared("()")

    send.enqueue()
    send.enqueue()

    [record] = caplog.records
    assert (record.name, record.levelno) == ("django_jobs.enqueue", logging.WARNING)
    assert "shop.tasks.send" in record.message
    assert 'DJANGO_JOBS["TASK_MODULES"] (tasks, jobs)' in record.message


@pytest.mark.django_db
def test_a_discovered_task_is_not_warned_of(caplog, settings):
    settings.DJANGO_JOBS = {"CACHE": None}

    registry.get("tests.app.tasks.add").enqueue(1, 2)

    assert caplog.records == []
    assert Job.objects.get().task_path == "tests.app.tasks.add"


@pytest.mark.django_db
def test_a_real_model_instance_is_refused_too():
    with pytest.raises(NotEncodable, match=r"argument 'a' is a tests\.app\.models\.Effect\. .* pass a\.pk and load it"):
        registry.get("tests.app.tasks.add").enqueue(Effect(key="x"), 2)

    assert not Job.objects.exists()


# Beside Django's own


def test_a_task_has_the_fields_of_djangos():
    send = declared("(context)", takes_context=True, priority=3, queue_name="mail", backend="jobs")

    fields = (send.name, send.module_path, send.priority, send.queue_name, send.backend, send.takes_context)

    assert fields == ("send", "shop.tasks.send", 3, "mail", "jobs", True)


@pytest.mark.skipif(django.VERSION < (6, 0), reason="needs Django 6: before it there is no django.tasks")
def test_a_task_is_one_of_djangos_and_asks_no_backend(settings):
    from django.tasks import Task as DjangosTask  # here: Django 6 only

    settings.TASKS = {}
    settings.DJANGO_JOBS = {"CACHE": None}

    send = declared("(a)", backend="nowhere").using(priority=3)

    assert isinstance(send, DjangosTask)
    assert send.prepare((1,), {}).priority == 3
