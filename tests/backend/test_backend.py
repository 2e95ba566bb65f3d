"""The backend for Django's framework, seen from where tasks are declared and enqueued."""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
from datetime import datetime, timedelta
from decimal import Decimal
from types import ModuleType

import django
import pytest
from asgiref.sync import async_to_sync
from django.db import transaction
from django.utils import timezone

import django_jobs
from django_jobs import job_options, moves, states
from django_jobs.backend import BackendTask, framework
from django_jobs.conf import jobs_settings
from django_jobs.models import Job
from django_jobs.scheduler.fire import fire
from django_jobs.scheduler.produce import run_now
from django_jobs.tasks import registry
from tests.app import framework_tasks as tasks
from tests.app import tasks as plain_tasks
from tests.settings import FRAMEWORK
from tests.test_schedules import due, saved

pytestmark = pytest.mark.django_db

TAKES_OPTIONS = not (6, 0) <= django.VERSION < (6, 1)  # the framework's decorator; that of the backport does


@pytest.fixture(autouse=True)
def registered_here(monkeypatch):
    for name in ("_tasks", "_aliases"):
        monkeypatch.setattr(registry, name, dict(getattr(registry, name)))


def declared(backend="default", queue_name="default", **options):
    """Return a task that stands in a module of its own."""

    def send(order_id):
        pass

    send.__module__, send.__qualname__ = "shop.tasks", "send"
    if not TAKES_OPTIONS:
        send, options = job_options(**options)(send), {}
    return tasks.task(backend=backend, queue_name=queue_name, **options)(send)


# Enqueueing


def test_enqueue_saves_a_job_and_returns_its_result():
    result = tasks.plus.enqueue(1, b=2)

    job = Job.objects.get()
    assert (result.id, result.status, result.args, result.kwargs) == (str(job.pk), "READY", [1], {"b": 2})
    assert (result.started_at, result.finished_at, result.errors, result.worker_ids) == (None, None, [], [])
    assert (result.task, result.backend, result.enqueued_at) == (tasks.plus, "default", job.enqueued_at)
    assert (job.task_path, job.backend, job.state) == ("tests.app.framework_tasks.plus", "default", states.QUEUED)


def test_the_job_of_a_rolled_back_transaction_never_was():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        result = tasks.plus.enqueue(1)
        assert tasks.plus.get_result(result.id).status == "READY"
        raise ZeroDivisionError

    with pytest.raises(framework.TaskResultDoesNotExist):
        tasks.plus.get_result(result.id)


def test_priority_and_queue_of_the_task_and_of_the_call_reach_the_job():
    tasks.send.enqueue("a@example.org")
    tasks.send.using(priority=-5, queue_name="default").enqueue("b@example.org")

    assert list(Job.objects.order_by("pk").values_list("queue_name", "priority")) == [("mail", 7), ("default", -5)]


def test_using_takes_our_options_of_a_call_besides_the_framework_s():
    tasks.plus.using(run_after=timedelta(hours=1), timeout=5, max_attempts=4, metadata={"tenant": 3}).enqueue(1)

    job = Job.objects.get()
    assert (job.state, job.timeout, job.max_attempts, job.metadata) == (states.SCHEDULED, 5, 4, {"tenant": 3})
    assert timedelta(minutes=59) < job.run_after - job.enqueued_at < timedelta(minutes=61)


def test_using_leaves_alone_what_is_none_as_the_framework_does():
    assert tasks.send.using(priority=None, queue_name=None, run_after=None, backend=None) == tasks.send


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"priority": 101}, framework.InvalidTask, "priority must be a whole number between -100 and 100."),
        ({"run_after": datetime(2030, 1, 1)}, framework.InvalidTask, "run_after must be an aware datetime."),
        ({"queue_name": "paper"}, framework.InvalidTask, "Queue 'paper' is not valid for backend."),
        ({"max_attempts": 0}, framework.InvalidTask, "max_attempts is 0; it must be 1 or more"),
        ({"run_after": timedelta(-1)}, django_jobs.InvalidTask, "it must be an aware datetime, or a timedelta"),
        ({"retry_on": OSError}, TypeError, '"retry_on" belongs to the task'),
        ({"timeot": 3}, TypeError, 'Did you mean "timeout"?'),
        ({"backend": "nowhere"}, framework.InvalidTaskBackend, "The connection 'nowhere' doesn't exist."),
    ],
)
def test_using_refuses_what_cannot_be(options, kind, message):
    with pytest.raises(kind) as refused:
        tasks.plus.using(**options)

    assert message in str(refused.value)


def test_what_cannot_be_enqueued_is_refused_as_by_the_framework(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"MAX_ARGS_BYTES": 10}

    with pytest.raises(framework.InvalidTask, match="MAX_ARGS_BYTES") as refused:
        tasks.plus.enqueue("x" * 100)
    with pytest.raises(TypeError, match="argument 'a' is a set"):
        tasks.plus.enqueue({1})
    with pytest.raises(TypeError, match=r"got an unexpected argument 'c'. It takes \(a, b=1\)"):
        tasks.plus.enqueue(1, c=2)

    assert isinstance(refused.value, django_jobs.InvalidTask)
    assert not Job.objects.exists()


def test_arguments_and_results_may_be_of_every_type_that_jobs_carry():
    result = tasks.price.get_backend().enqueue(tasks.plus, (Decimal("1.5"),), {"b": timezone.now()})

    assert result.args == [Decimal("1.5")]
    assert tasks.plus.get_result(result.id) == result


def test_many_are_enqueued_by_one_statement(django_assert_max_num_queries):
    tasks.plus.enqueue(0)

    with django_assert_max_num_queries(4):  # a savepoint, the rows, and what the database's clock says
        results = tasks.plus.enqueue_many([{"a": 1}, tasks.plus.s(2, b=3)])

    assert [(result.args, result.kwargs) for result in results] == [([], {"a": 1}), ([2], {"b": 3})]
    assert [result.id for result in results] == [str(job.pk) for job in Job.objects.order_by("pk")[1:]]


def test_a_task_of_ours_may_be_given_to_the_backend():
    result = framework.task_backends["second"].enqueue(plain_tasks.add.using(queue_name="mail"), (1, 2), {})

    assert (Job.objects.get().backend, result.status) == ("second", "READY")


def test_the_signal_and_the_log_line_are_those_of_the_framework(caplog):
    heard = []

    def receiver(sender, task_result, **_):
        heard.append((sender.__name__, task_result.id, task_result.status))

    framework.task_enqueued.connect(receiver)
    with caplog.at_level(logging.DEBUG, FRAMEWORK):
        result = tasks.plus.enqueue(1)
        plain_tasks.add.enqueue(1, 2)
    framework.task_enqueued.disconnect(receiver)

    assert heard == [("JobsBackend", result.id, "READY")]
    path = "tests.app.framework_tasks.plus"
    assert [record.message for record in caplog.records if record.name == FRAMEWORK] == [
        f"Task id={result.id} path={path} enqueued backend=default"
    ]


@pytest.mark.django_db(transaction=True)
def test_enqueueing_and_asking_work_in_async_code():
    async def enqueue_and_ask():
        result = await tasks.plus_async.aenqueue(1)
        found = await tasks.plus_async.aget_result(result.id)
        await found.arefresh()
        return result, found

    result, found = async_to_sync(enqueue_and_ask)()

    assert result == found
    assert Job.objects.get().task_path == "tests.app.framework_tasks.plus_async"


# Several aliases


def test_the_queues_of_an_alias_say_what_is_enqueued_through_it(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"QUEUES": ["default"]}

    with pytest.raises(framework.InvalidTask, match="Queue 'default' is not valid for backend"):
        tasks.plus.using(backend="second")
    tasks.plus.using(backend="second", queue_name="mail").enqueue(1)

    assert list(Job.objects.values_list("backend", "queue_name")) == [("second", "mail")]


def test_a_worker_serves_what_any_alias_may_enqueue(settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"QUEUES": ["own"]}
    settings.TASKS = {
        "a": {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": ["mail", "own"]},
        "b": {"BACKEND": "django_jobs.backend.JobsBackend"},
        "c": {"BACKEND": "django_jobs.backend.DummyBackend", "QUEUES": ["never"]},
        "d": {"BACKEND": "no.such.backend", "QUEUES": ["never"]},
    }
    assert jobs_settings.served_queues == ["own", "mail", "default"]

    settings.TASKS = {"a": {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": []}}
    assert jobs_settings.served_queues == []


def test_a_task_of_ours_never_looks_at_tasks(settings):
    settings.TASKS = {"default": {"BACKEND": "no.such.backend"}}

    job = plain_tasks.add.enqueue(1, 2)

    assert (job.backend, jobs_settings.served_queues) == ("", ["default", "mail"])


# Results


@pytest.mark.parametrize("state", states.STATES)
def test_every_state_is_one_of_the_four_statuses(state):
    result = tasks.plus.enqueue(1)
    values = {"finished_at": timezone.now()} if state in states.FINAL else {}

    Job.objects.update(state=state, **values)
    result.refresh()

    assert result.status == states.STATUSES[state]
    assert result.is_finished == (state in states.FINAL)
    if state == states.SUCCEEDED:
        assert result.return_value is None
    else:
        with pytest.raises(ValueError, match="Task failed" if result.is_finished else "Task has not finished yet"):
            result.return_value  # noqa: B018


@pytest.mark.parametrize("id", ["123", "", None, 5, "0198e4e6-7a8b-7000-8000-000000000000", "\0"])
def test_a_result_that_is_not_there_is_missed_as_by_the_framework(id):
    with pytest.raises(framework.TaskResultDoesNotExist):
        tasks.plus.get_result(id)


def test_a_result_says_how_its_job_was_enqueued():
    moment = timezone.now() + timedelta(days=1)
    result = tasks.plus.using(priority=3, queue_name="mail", run_after=moment, backend="second").enqueue(1)

    found = tasks.plus.get_result(result.id).task

    assert (found.priority, found.queue_name, found.run_after, found.backend) == (3, "mail", moment, "second")
    assert found == result.task


def test_a_result_can_be_read_when_its_queue_is_none_of_the_alias_any_more(settings):
    result = tasks.send.enqueue("a")
    settings.TASKS = {"default": {"BACKEND": "django_jobs.backend.JobsBackend", "QUEUES": ["other"]}}

    assert framework.task_backends["default"].get_result(result.id).task.func is tasks.send.func


def test_the_job_of_a_task_of_ours_can_be_read_as_a_result():
    job = plain_tasks.add.enqueue(1, 2)

    result = framework.task_backends["default"].get_result(str(job.pk))
    result.refresh()

    assert (result.id, result.args, result.backend) == (str(job.pk), [1, 2], "default")


def test_a_lost_attempt_is_an_error_with_a_class_and_a_worker():
    result = tasks.plus.enqueue(1)
    (job,) = moves.claim([Job.objects.get().pk], worker=(worker := django_jobs.ids.job_id()), slot=1)

    moves.lose([moves.Held(job.id, job.claim)], cause="killed by signal 9")
    result.refresh()

    (error,) = result.errors
    assert error.exception_class is django_jobs.exceptions.WorkerDied
    assert error.traceback == "django_jobs.exceptions.WorkerDied: killed by signal 9\n"
    assert (result.worker_ids, result.attempts, result.status) == ([str(worker)], 1, "READY")


def test_tasks_and_results_can_be_pickled():
    result = tasks.fail_twice.enqueue("a")

    assert pickle.loads(pickle.dumps(tasks.fail_twice)) == tasks.fail_twice
    assert pickle.loads(pickle.dumps(result)) == result


# Options of a task


def test_options_are_said_beside_any_backend():
    assert (tasks.fail_twice.max_attempts, tasks.fail_twice.timeout, tasks.fail_twice.backoff) == (3, 30, 0)
    tasks.fail_twice.enqueue("a")
    tasks.fail_twice.using(expires=None, max_attempts=9).enqueue("b")

    first, second = Job.objects.order_by("pk")
    assert (first.max_attempts, first.timeout, first.expires_at is None) == (3, 30.0, False)
    assert (second.max_attempts, second.timeout, second.expires_at) == (9, 30.0, None)


def test_a_backend_of_another_make_ignores_them():
    result = tasks.declared_for_another_backend.enqueue(5)

    assert (result.args, tasks.declared_for_another_backend.func(6)) == ([5], 12)
    assert not isinstance(result.task, BackendTask)


def test_options_are_said_in_the_framework_s_own_decorator_where_it_takes_them():
    task = declared(max_attempts=5, timeout=30, queue_name="mail")

    assert isinstance(task, BackendTask) and isinstance(task, framework.Task)
    assert (task.max_attempts, task.timeout, task.queue_name, task.retry_on) == (5, 30, "mail", Exception)
    assert registry.get("shop.tasks.send") is task


@pytest.mark.parametrize("alias", ["default", "immediate", "dummy"])
def test_our_three_backends_take_the_same_options(alias):
    task = declared(backend=alias, max_attempts=5, backoff=[1, 2])

    assert (type(task), task.max_attempts, task.using(timeout=3).timeout) == (BackendTask, 5, 3)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_attempts": 0}, django_jobs.InvalidTask, ": max_attempts is 0; it must be 1 or more"),
        ({"max_atempts": 3}, TypeError, "max_atempts"),
    ],
)
@pytest.mark.parametrize("alias", ["default", "immediate"])
def test_wrong_options_are_refused_where_they_stand(alias, options, kind, message):
    with pytest.raises(kind, match=message):
        declared(backend=alias, **options)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"max_attempts": 0}, django_jobs.InvalidTask, "@job_options: max_attempts is 0; it must be 1 or more"),
        ({"timeot": 3}, TypeError, '@job_options: a task has no option "timeot". Did you mean "timeout"?'),
        ({"priority": 3}, TypeError, '@job_options: "priority" is an option of django.tasks: set it in @task'),
    ],
)
def test_options_beside_any_backend_are_checked(options, kind, message):
    with pytest.raises(kind) as refused:
        job_options(**options)

    assert message in str(refused.value)


def test_options_stand_below_the_decorator():
    with pytest.raises(TypeError, match="put it below @task"):
        job_options(timeout=3)(tasks.plus)


def test_two_functions_of_one_path_are_refused():
    declared()

    with pytest.raises(framework.InvalidTask, match=r"two tasks are called shop.tasks.send"):
        exec("def send(x): ...\nsend.__module__ = 'shop.tasks'\ntask(send)", {"task": tasks.task, "__name__": "x"})


# Other backends


def test_the_immediate_twin_runs_at_once_and_gives_a_context_that_can_do_what_ours_can():
    result = tasks.tell.using(backend="immediate").enqueue(1)

    assert (result.status, result.errors) == ("SUCCESSFUL", [])
    assert (result.return_value["attempt"], result.return_value["id"]) == (1, result.id)
    assert not Job.objects.exists()


def test_the_dummy_twin_keeps_results_and_takes_every_moment():
    backend = framework.task_backends["dummy"]
    backend.clear()

    result = tasks.plus.using(backend="dummy", run_after=timedelta(hours=1), timeout=3).enqueue(1)
    tasks.plus.using(backend="dummy").enqueue_many([{"a": 1}])

    assert (backend.get_result(result.id).id, len(backend.results)) == (result.id, 2)


def test_a_task_declared_for_another_backend_can_be_enqueued_through_ours():
    result = tasks.declared_for_another_backend.using(backend="second", queue_name="mail").enqueue(2)

    job = Job.objects.get()
    found = tasks.declared_for_another_backend.get_result  # asks the backend that it was declared for
    assert (job.backend, result.id, job.max_attempts) == ("second", str(job.pk), 7)
    assert framework.task_backends["second"].get_result(result.id).task.func is result.task.func
    with pytest.raises(framework.TaskResultDoesNotExist):
        found(result.id)


@pytest.mark.parametrize("path", ["os.system", "tests.app.framework_tasks.note", "antigravity.anything"])
def test_nothing_is_run_or_imported_because_data_names_it(path):
    with pytest.raises(django_jobs.TaskNotFound):
        registry.get(path)

    assert "antigravity" not in sys.modules


def test_tasks_are_declared_before_models_can_be_loaded_and_without_the_app():
    program = f"""
import sys
from django.conf import settings
settings.configure(TASKS={{"default": {{"BACKEND": "django_jobs.backend.JobsBackend"}}}}, USE_TZ=True)
from {tasks.task.__module__} import task
from django_jobs import job_options
@task
@job_options(timeout=3)
def send(): ...
print("django_jobs.models" in sys.modules, send.timeout, type(send).__name__)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)

    assert (done.stdout.strip(), done.stderr) == ("False 3 BackendTask", "")


def test_a_module_that_imports_what_it_is_asked_for_is_not_asked(monkeypatch):
    def no_import(name):
        raise AssertionError(f"asked for {name}")

    lazy = ModuleType("lazy")
    monkeypatch.setattr(lazy, "__getattr__", no_import, raising=False)
    monkeypatch.setitem(sys.modules, "lazy", lazy)

    with pytest.raises(django_jobs.TaskNotFound):
        registry.get("lazy.os")


def test_a_schedule_for_a_queue_that_the_backend_does_not_have_holds_up_no_others():
    wrong = due(saved(task_path=tasks.plus.module_path, queue_name="nowhere", args=[1]))
    right = due(saved(task_path=tasks.plus.module_path, name="right", args=[1]))

    with pytest.raises(django_jobs.InvalidTask, match="nowhere"):
        run_now(wrong)
    fire()

    assert set(Job.objects.values_list("schedule", "queue_name")) == {(wrong.pk, "nowhere"), (right.pk, "default")}
