"""Tests of users: jobs run in the test's own transaction, without Redis, and what fails is shown as it failed."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from configparser import ConfigParser
from datetime import timedelta
from pathlib import Path

import pytest
from django.test import TestCase
from django.utils import timezone

from django_jobs import RESULT, TaskNotFound, states, testing
from django_jobs.models import Attempt, Job, Queue, Schedule, db_now, frozen_clock
from tests.app import tasks
from tests.app.models import Effect
from tests.docs_tutorial import fences

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "howto" / "testing.md"
HOUR = timedelta(hours=1)
PYTEST = ["-m", "pytest", "-p", "pytest_django.plugin", "-p", "django_jobs.pytest_plugin"]


@pytest.fixture
def jobs():
    with testing.without_redis():
        yield testing


def keys() -> list[str]:
    return list(Effect.objects.order_by("pk").values_list("key", flat=True))


@pytest.mark.django_db
def test_jobs_run_in_the_transaction_of_the_test_until_none_is_left(jobs):
    tasks.enqueue_another.enqueue("another")
    tasks.effect.using(priority=5).enqueue("urgent")
    tasks.effect.using(queue_name="mail").enqueue("mail")
    tasks.effect.using(run_after=HOUR).enqueue("later")

    done = jobs.run_jobs()

    assert keys() == ["urgent", "mail", "another"]
    assert [job.state for job in done] == [states.SUCCEEDED] * 4
    assert jobs.run_jobs() == []


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["add_async", "add"])
def test_results_and_arguments_go_through_the_database(jobs, name):
    job = getattr(tasks, name).enqueue((1,), (2,))

    jobs.run_jobs()

    job.refresh()
    assert (job.args, job.return_value) == ([[1], [2]], [1, 2])


@pytest.mark.django_db
def test_an_async_body_works_in_the_transaction_of_the_test(jobs):
    tasks.effect_async.enqueue("async")

    jobs.run_jobs()

    assert keys() == ["async"]


@pytest.mark.django_db
def test_time_does_not_pass_unless_it_is_told_to(jobs):
    job = tasks.fail_twice_slowly.enqueue("x")

    jobs.run_jobs()
    job.refresh()
    assert (job.state, len(keys())) == (states.RETRYING, 1)

    jobs.run_jobs(ahead=HOUR)
    job.refresh()
    assert (job.state, job.return_value, len(keys())) == (states.SUCCEEDED, "at last", 3)


@pytest.mark.django_db
def test_an_error_is_raised_with_the_body_at_its_end_and_stored_as_a_worker_would(jobs):
    job = tasks.fail.enqueue("no")
    tasks.effect.enqueue("left")

    with pytest.raises(ValueError, match="no") as raised:
        jobs.run_jobs()

    job.refresh()
    assert (job.state, job.last_error) == (states.FAILED, "ValueError: no")
    assert traceback.extract_tb(raised.value.__traceback__)[-1].name == "fail"
    assert raised.value.__notes__ == ["Raised by the job fail('no'), attempt 1."]
    assert "in fail\n" in Attempt.objects.get(job=job).traceback and "testing.py" not in job.errors[0].traceback
    assert [one.name for one in jobs.run_jobs()] == ["effect"]


@pytest.mark.django_db
def test_errors_may_be_looked_at_instead(jobs):
    tasks.fail.enqueue("no")
    tasks.discard.enqueue()

    assert [job.state for job in jobs.run_jobs(raise_errors=False)] == [states.FAILED, states.CANCELLED]


@pytest.mark.django_db
def test_an_error_of_the_database_does_not_spoil_the_transaction_of_the_test(jobs):
    Effect.objects.create(key="before")
    tasks.violate.enqueue()
    tasks.effect.enqueue("after")

    done = jobs.run_jobs(raise_errors=False)

    assert [job.state for job in done] == [states.FAILED, states.SUCCEEDED]
    assert keys() == ["before", "after"]


@pytest.mark.django_db
def test_followers_callbacks_and_atomic_bodies_work(jobs):
    first = tasks.add.enqueue(1, 2)
    last = first.then(tasks.add.s(RESULT, 4))
    tasks.with_callbacks.enqueue("fail")
    tasks.atomic_effect.enqueue("atomic")
    tasks.keep_nothing.enqueue("kept nowhere")

    with pytest.raises(ValueError, match="as told"):
        jobs.run_jobs(ahead=HOUR)
    jobs.run_jobs()

    last.refresh()
    assert last.return_value == 7
    assert [key.split()[0] for key in keys()] == ["atomic", "kept", "retry", "failure"]


@pytest.mark.django_db
def test_jobs_that_go_round_in_circles_end_somewhere(jobs):
    tasks.enqueue_itself.enqueue()

    with pytest.raises(AssertionError, match=r"5 runs, and still enqueue_itself\(\) is due. Does a job enqueue itself"):
        jobs.run_jobs(limit=5)


@pytest.mark.django_db
def test_a_task_that_nobody_knows_and_a_paused_queue(jobs):
    Queue.objects.create(name="mail", paused_at=db_now())
    tasks.effect.using(queue_name="mail").enqueue("x")
    assert jobs.run_jobs() == []

    Job.objects.create(task_path="tests.app.tasks.ad")
    with pytest.raises(TaskNotFound, match=r"Did you mean tests\.app\.tasks\.add"):
        jobs.run_jobs()


@pytest.mark.django_db
def test_jobs_are_captured_while_the_block_lasts(jobs):
    tasks.add.enqueue(0, 0)
    with jobs.captured_jobs() as everything, jobs.captured_jobs(tasks.add) as sums:
        tasks.add.enqueue(1, (2, 3))
        tasks.effect.enqueue_many([tasks.effect.s("a"), tasks.effect.s("b")])
    tasks.add.enqueue(4, 4)

    assert [job.name for job in everything] == ["add", "effect", "effect"]
    assert [job.args for job in sums] == [[1, [2, 3]]]


@pytest.mark.django_db
def test_what_was_enqueued_is_told_by_its_call(jobs):
    tasks.add.using(queue_name="mail").enqueue(1, b=(2,))
    tasks.add.enqueue(3, 4)

    assert [job.args for job in jobs.assert_enqueued(tasks.add, [1, [2]])] == [[1]]
    jobs.assert_enqueued(tasks.add, kwargs={"a": 1, "b": (2,)}, queue_name="mail")
    jobs.assert_enqueued(tasks.add, count=2)
    jobs.assert_enqueued(tasks.add, args=[5, 6], count=0)
    jobs.assert_enqueued(tasks.effect, count=0)
    with pytest.raises(AssertionError) as disappointed:
        jobs.assert_enqueued(tasks.add, args=(3, 4), queue_name="mail")

    assert str(disappointed.value) == (
        "add(3, 4), queue_name='mail' was enqueued 0 times, not 1. Enqueued are:\n"
        "  add(1, b=[2])  queued, queue mail\n"
        "  add(3, 4)  queued, queue default"
    )


@pytest.mark.django_db
def test_schedules_are_fired_at_the_moment_given(jobs):
    schedule = Schedule.objects.create(name="x", task_path=tasks.effect.module_path, args=["fired"], every=HOUR)

    assert jobs.run_due_schedules() == []
    assert jobs.run_due_schedules(at=schedule.next_due_at - timedelta(seconds=1)) == []
    [job] = jobs.run_due_schedules(at=schedule.next_due_at + 5 * HOUR)  # once, after a time without workers
    assert jobs.run_due_schedules(at=schedule.next_due_at + 5 * HOUR) == []

    assert jobs.run_jobs() == [job]
    assert keys() == ["fired"]


@pytest.mark.django_db
def test_a_frozen_clock_stands_still_and_goes_on():
    moment = timezone.now() + 1000 * HOUR

    with frozen_clock(moment):
        assert db_now() == moment
        job = tasks.effect.using(run_after=HOUR).enqueue("x")

    assert job.run_after == moment + HOUR
    assert db_now() < moment
    with pytest.raises(ValueError, match="has no time zone"), frozen_clock(moment.replace(tzinfo=None)):
        pass


class WithTheMixin(testing.JobsMixin, TestCase):
    def test_the_functions_are_methods(self):
        with self.captured_jobs() as jobs, self.captureOnCommitCallbacks(execute=True):
            tasks.effect.enqueue("mixin")
        assert self.run_jobs() == jobs
        self.assert_enqueued(tasks.effect, ["mixin"])
        assert self.run_due_schedules() == []


# The page


@pytest.mark.once
def test_the_examples_of_the_page_work_and_need_no_redis(tmp_path):
    write_shop(tmp_path)

    by_pytest = run(tmp_path, *PYTEST, "-q", "shop")
    by_django = run(tmp_path, "-m", "django", "test", "shop")

    assert by_pytest.returncode == 0 and "6 passed" in by_pytest.stdout, by_pytest.stdout + by_pytest.stderr
    assert by_django.returncode == 0 and "Ran 3 tests" in by_django.stderr, by_django.stdout + by_django.stderr


@pytest.mark.once
def test_a_failing_job_shows_the_line_that_failed(tmp_path):
    write_shop(tmp_path)
    (tmp_path / "shop" / "test_with_pytest.py").write_text(
        "import pytest\nfrom .tasks import send_invoice\n\n\n@pytest.mark.django_db\n"
        "def test_it(jobs):\n    send_invoice.enqueue(404)\n    jobs.run_jobs()\n"
    )

    shown = run(tmp_path, *PYTEST, "shop/test_with_pytest.py").stdout

    assert "shop.models.Order.DoesNotExist: Order matching query does not exist." in shown
    assert ">   " in shown and "order = Order.objects.get(pk=order_id)" in shown
    assert "Raised by the job send_invoice(404), attempt 1." in shown


@pytest.mark.once
def test_pytest_finds_the_fixture_by_itself():
    config = ConfigParser()
    config.read(ROOT / "setup.cfg")

    assert config["options.entry_points"]["pytest11"].strip() == "django_jobs = django_jobs.pytest_plugin"


@pytest.mark.once
def test_the_plugin_does_nothing_in_a_project_without_django(tmp_path):
    (tmp_path / "test_it.py").write_text("import sys\n\n\ndef test_it():\n    assert 'django' not in sys.modules\n")

    done = run(tmp_path, "-m", "pytest", "-q", "-p", "django_jobs.pytest_plugin", DJANGO_SETTINGS_MODULE="")

    assert done.returncode == 0, done.stdout + done.stderr


def write_shop(folder: Path) -> None:
    """Write the files that the page shows, and those that it takes for granted."""
    (folder / "shop").mkdir()
    (folder / "shop" / "__init__.py").touch()
    for name, text in GIVEN.items():
        (folder / name).write_text(text)
    for fence in fences(PAGE.read_text()):
        if fence.caption:
            (folder / fence.caption).write_text(fence.text)


def run(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("DJANGO_", "PYTEST_"))}
    given = {"DJANGO_SETTINGS_MODULE": "settings", "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    environment = given | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"} | environment  # whether installed with ours or not
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=120)


GIVEN = {
    "pytest.ini": "[pytest]\npython_files = test*.py\n",
    "settings.py": """
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}}
CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}}
INSTALLED_APPS = ["django_jobs", "shop"]
SECRET_KEY = "of a test"
USE_TZ = True
""",
    "shop/models.py": """
from django.db import models


class Order(models.Model):
    email = models.EmailField()
    paid = models.BooleanField(default=False)

    @classmethod
    def place(cls, email):
        from .tasks import charge

        order = cls.objects.create(email=email)
        charge.enqueue(order.pk)
        return order

    def bank_answers(self):
        return not self.email.startswith("bank-away")

    def mark_paid(self):
        self.paid = True
        self.save()
""",
}
