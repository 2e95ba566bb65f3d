"""Running a task by hand in the admin: choosing it, its form, who may, and that nothing typed makes it fall over."""

from __future__ import annotations

import re
from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from urllib.parse import quote

import pytest
from django.contrib.admin.models import ADDITION, LogEntry
from django.contrib.auth.models import Permission
from django.utils.timezone import localtime

from django_jobs import InvalidTask, states
from django_jobs.models import Job, db_now
from tests.app import admin_tasks, form_tasks, framework_tasks
from tests.test_admin import HOSTILE, JOBS, OVERVIEW, as_user, errors, person, text, without_redis  # noqa: F401

pytestmark = pytest.mark.django_db
RUN = f"{JOBS}add/"
CHARGE = admin_tasks.charge_card.module_path


def form(task: str = CHARGE, **values) -> dict:
    """Return what a browser posts."""
    arguments = {"arg-order_id": "1042", "arg-amount": "", "arg-pin": "", "arg-password": ""} if task == CHARGE else {}
    return {"task": task, **arguments, "queue_name": "", "priority": "", "run_after": ""} | values


@pytest.fixture
def run(admin_client):
    """A function that posts the form, and returns the job or what the form says."""

    def post(task: str = CHARGE, **values) -> Job | str:
        response = admin_client.post(RUN, form(task, **values))
        return errors(response) if response.status_code == 200 else Job.objects.get()

    return post


# Choosing


def test_tasks_are_shown_by_app_with_what_they_take_and_do(admin_client):
    page = text(admin_client.get(RUN))

    assert page.index("Tests_App") < page.index("charge_card")
    assert "charge_card (order_id: int, amount: float = 1.0" in page
    assert "for_superusers_only" in page


def test_a_search_narrows_the_tasks(admin_client):
    page = text(admin_client.get(RUN, {"q": "CHARGE_c"}))

    assert "charge_card" in page and "for_superusers_only" not in page
    assert "No task is called so." in text(admin_client.get(RUN, {"q": HOSTILE}))


def test_a_task_that_is_not_known_here_leads_back_to_the_choice(admin_client):
    page = text(admin_client.get(RUN, {"task": "shop.tasks.gone"}))

    assert "This process knows no task shop.tasks.gone" in page and "charge_card" in page


def test_the_way_leads_from_the_overview_and_from_the_list(admin_client):
    for address in (OVERVIEW, JOBS):
        source = admin_client.get(address).content.decode()
        assert f'href="{RUN}"' in source and "Run a task" in source


def test_who_may_not_add_jobs_is_not_led_there(as_user):  # noqa: F811
    client = as_user("view_job", "change_job")

    for address in (OVERVIEW, JOBS):
        assert "Run a task" not in text(client.get(address))
    assert client.get(RUN).status_code == 403


# Running


def test_a_job_is_made_in_the_name_of_the_user_and_shown(admin_client, admin_user):
    response = admin_client.post(RUN, form(), follow=True)

    job = Job.objects.get()
    assert (job.task_path, job.args, job.kwargs, job.state) == (CHARGE, [], {"order_id": 1042}, states.QUEUED)
    assert (job.queue_name, job.priority, job.created_by) == ("default", 0, "admin")
    assert response.redirect_chain == [(f"{JOBS}{job.pk}/change/", 302)]
    assert "Enqueued: charge_card(order_id=1042)" in response.content.decode()
    entry = LogEntry.objects.get()
    assert (entry.action_flag, entry.object_id, entry.user) == (ADDITION, str(job.pk), admin_user)


def test_arguments_have_fields_by_their_types(run):
    job = run(
        form_tasks.many_kinds.module_path,
        **{
            "arg-number": "7",
            "arg-amount": "1.50",
            "arg-day": "2030-01-02",
            "arg-moment": "2030-01-02T03:04:05",
            "arg-length": "1:00:00",
            "arg-key": "0190b1c2-0000-7000-8000-000000000000",
            "arg-colour": "red",
            "arg-size": "LARGE",
            "arg-tags": '["a", "b"]',
            "arg-sure": "no",
            "arg-note": "",
        },
    )

    assert job.kwargs["amount"] == Decimal("1.50")
    assert (job.kwargs["colour"], job.kwargs["size"], job.kwargs["tags"]) == ("red", "l", ["a", "b"])
    assert job.kwargs["sure"] is False and "note" not in job.kwargs


def test_a_task_may_take_nothing(admin_client, run):
    path = form_tasks.nothing.module_path

    assert "This task takes no arguments." in text(admin_client.get(RUN, {"task": path}))
    assert (run(path).args, Job.objects.get().kwargs) == ([], {})


def test_positional_and_further_arguments(run):
    values = {"arg-first": "1", "arg-second": '"two"', "arg-rest": "[3]", "arg-options": '{"four": 4}'}

    job = run(form_tasks.positional.module_path, **values)

    assert (job.args, job.kwargs) == ([1, "two", 3], {"four": 4})


def test_queue_priority_and_time_may_be_others(run):
    later = localtime(db_now() + timedelta(days=1)).replace(hour=12, microsecond=0)  # no clock changes at noon

    job = run(queue_name="reports", priority="50", run_after=f"{later:%Y-%m-%dT%H:%M:%S}")

    assert (job.queue_name, job.priority, job.state, job.run_after) == ("reports", 50, states.SCHEDULED, later)


def test_tasks_of_the_framework_run_as_well(run):
    job = run(framework_tasks.plus.module_path, **{"arg-a": "1", "arg-b": "2"})

    assert (job.kwargs, job.backend) == ({"a": 1, "b": 2}, "default")


def test_a_queue_that_the_frameworks_backend_does_not_have_is_refused(run):
    said = run(framework_tasks.plus.module_path, **{"arg-a": "1", "arg-b": ""}, queue_name="nowhere")

    assert "nowhere" in said
    assert not Job.objects.exists()


def test_a_middleware_may_refuse_the_job(admin_client, settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"MIDDLEWARE": [f"{__name__}.Refuses"]}

    response = admin_client.post(RUN, form())

    assert "No tenant." in errors(response)
    assert not Job.objects.exists() and not LogEntry.objects.exists()


class Refuses:
    @contextmanager
    def enqueue(self, job):
        if job:
            raise InvalidTask("No tenant.")
        yield


# Who may


def test_others_than_superusers_run_the_tasks_that_are_declared_for_the_admin(as_user):  # noqa: F811
    client = as_user("add_job", "view_job")

    page = text(client.get(RUN))

    assert "charge_card" in page and "for_superusers_only" not in page and not re.search(r"\breport\b", page)
    assert client.post(RUN, form()).status_code == 302
    for task in (admin_tasks.for_superusers_only.module_path, admin_tasks.report.module_path, "shop.tasks.gone"):
        assert client.get(RUN, {"task": task}).status_code == 403
        assert client.post(RUN, form(task)).status_code == 403
    assert Job.objects.count() == 1


def test_a_task_may_ask_for_a_permission_of_its_own(client, settings):
    user = person("add_job")
    user.user_permissions.add(Permission.objects.get(codename="view_effect"))
    client.force_login(user)

    response = client.post(RUN, form(admin_tasks.report.module_path, **{"arg-month": "may"}), follow=True)

    assert Job.objects.get().queue_name == "reports"
    assert response.redirect_chain == [(RUN, 302)]  # this user may not see jobs
    assert "Enqueued: report(month=&#x27;may&#x27;)" in response.content.decode()


def test_who_may_run_nothing_is_told_why(as_user, monkeypatch):  # noqa: F811
    monkeypatch.setattr("django_jobs.tasks.registry._tasks", {})

    assert "@task(admin=True)" in text(as_user("add_job").get(RUN))


# Secrets


@pytest.mark.parametrize("values", [{"arg-order_id": "x"}, {"priority": "x"}])
def test_secrets_are_typed_anew_after_a_mistake(admin_client, values):
    secrets = {"arg-pin": "s3cret", "arg-password": "s3cret"}

    response = admin_client.post(RUN, form(**secrets, **values))

    assert response.status_code == 200
    assert "s3cret" not in response.content.decode()
    assert response.content.decode().count('type="password"') == 2


def test_a_secret_reaches_the_job_and_no_page(admin_client):
    response = admin_client.post(RUN, form(**{"arg-password": "s3cret"}), follow=True)

    assert Job.objects.get().kwargs["password"] == "s3cret"
    assert "s3cret" not in response.content.decode()
    assert "s3cret" not in str(LogEntry.objects.values())


def test_a_secret_may_read_hidden(run):
    assert run(**{"arg-password": "hidden"}).kwargs["password"] == "hidden"


# Mistakes


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"arg-order_id": ""}, "This field is required."),
        ({"arg-order_id": "one"}, "Enter a whole number."),
        ({"arg-order_id": "9" * 5000}, "Enter a whole number."),
        ({"arg-amount": "nan"}, "Enter a number."),
        ({"arg-amount": "1e999"}, "Enter a number."),
        ({"arg-pin": "a\0b"}, "Null characters are not allowed."),
        ({"queue_name": "a b"}, "it must be a name of letters"),
        ({"queue_name": "a\0"}, "Null characters are not allowed."),
        ({"queue_name": "x" * 500}, "it must be a name of letters"),
        ({"priority": "101"}, "less than or equal to 100"),
        ({"priority": "high"}, "Enter a whole number."),
        ({"run_after": "2001-01-01T00:00"}, "This moment is past."),
        ({"run_after": "9999-12-31T23:59:59"}, "Nobody will be there so late."),
        ({"run_after": "2030-03-31T02:30:00"}, "couldn’t be interpreted in time zone"),
        ({"run_after": "soon"}, "Enter a valid date/time."),
        ({"arg-pin": "x" * 1_100_000}, "MAX_ARGS_BYTES allows"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_run(run, values, said):
    assert said in run(**values)
    assert not Job.objects.exists()


def test_more_than_a_site_takes_is_refused_without_an_error(admin_client):
    assert admin_client.post(RUN, form(**{"arg-pin": "x" * 3_000_000})).status_code == 400


def test_a_slip_in_a_queue_is_told_with_the_nearest_name(run, settings):
    settings.DJANGO_JOBS = {"CACHE": None, "QUEUES": ["default", "high"]}

    assert 'no queue "hihg". Queues are default, high. Did you mean "high"?' in run(queue_name="hihg")


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("{", "This is not JSON"),
        ("[" * 100_000, "This is not JSON"),
        ("9" * 5000, "This is not JSON"),
        ("NaN", "NaN"),
        ('{"$type": "nonsense", "value": 1}', "nonsense"),
        (HOSTILE, "This is not JSON"),
    ],
)
def test_bad_json_is_refused(run, typed, said):
    values = {"arg-first": "1", "arg-second": typed, "arg-rest": "", "arg-options": ""}

    assert said in run(form_tasks.positional.module_path, **values)
    assert not Job.objects.exists()


def test_halves_of_pairs_and_nul_in_json_are_arguments_like_others(admin_client):
    values = {"arg-first": "1", "arg-second": r'"\ud800\u0000"', "arg-rest": "", "arg-options": ""}

    response = admin_client.post(RUN, form(form_tasks.positional.module_path, **values), follow=True)

    assert response.status_code == 200
    assert Job.objects.get().args == [1, "\ud800\0"] or Job.objects.get().kwargs["second"] == "\ud800\0"


def test_an_argument_that_is_given_twice_is_refused(run):
    values = {"arg-first": "1", "arg-second": "2", "arg-options": '{"second": 3}'}

    assert "second is given twice" in run(form_tasks.positional.module_path, **values)
    assert not Job.objects.exists()


@pytest.mark.parametrize("task", ["a\0b", "x" * 100_000, HOSTILE, "tests.app", "..", "\ud800"])
def test_a_task_that_cannot_be_is_no_error(admin_client, task):
    asked = admin_client.get(f"{RUN}?task={quote(task[:4000], errors='replace')}")
    posted = admin_client.post(RUN, {"task": task.encode(errors="replace").decode()})

    assert "Choose one that it knows." in text(asked)
    assert "Choose one that it knows." in text(posted)


def test_what_was_typed_stays_in_the_form(admin_client):
    typed = form(**{"arg-order_id": "x1"}, queue_name="reports", run_after="2040-01-01T01:02")

    response = admin_client.post(RUN, typed)

    source = response.content.decode()
    assert 'value="x1"' in source and 'value="reports"' in source and "<details" in source
    assert "open" in source.partition("<details")[2].partition(">")[0]


def test_hostile_text_stays_text(admin_client):
    values = {key: HOSTILE for key in form() if key != "task"}

    source = admin_client.post(RUN, form(**values)).content.decode()

    assert "<script>alert" not in source
