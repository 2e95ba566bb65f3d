"""The page of one job: its story, its errors, other arguments, copies, and the report of a mistake."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import moves, testing
from django_jobs.admin import job_story
from django_jobs.models import Attempt, EncodedText, Job, Traceback, Worker, db_now
from tests.app import admin_tasks, form_tasks, tasks
from tests.test_admin import (  # noqa: F401  fixtures
    HOSTILE,
    JOBS,
    TASK,
    as_user,
    failed_job,
    job,
    text,
    without_redis,
)
from tests.test_schedules import saved

pytestmark = pytest.mark.django_db
SHOP = '  File "/srv/shop/tasks.py", line 31, in charge_card\n    gateway.charge(order)\n'
REQUESTS = '  File "/srv/lib/python3.12/site-packages/requests/api.py", line 5, in post\n    return request()\n'
TRACEBACK = f"Traceback (most recent call last):\n{SHOP}{REQUESTS}"


def page_of(client, one: Job):
    return client.get(f"{JOBS}{one.pk}/change/")


def source(client, one: Job) -> str:
    return page_of(client, one).content.decode()


def failed(attempts: int = 1, traceback: str = TRACEBACK, **values) -> Job:
    error = "gateway timed out"
    one = job("failed", **{"attempt": attempts, "last_error": f"ConnectionError: {error}"} | values)
    Traceback.objects.get_or_create(fingerprint="f2", defaults={"text": traceback})
    for number in range(1, attempts + 1):
        Attempt.objects.create(
            job=one,
            number=number,
            kind="failed",
            started_at=db_now() - timedelta(seconds=2),
            exception_class="requests.ConnectionError",
            message=error,
            fingerprint="f2",
        )
    return one


def again(one: Job) -> Job:
    one.refresh()
    return one


# Frames


def test_own_frames_stand_open_and_those_of_libraries_fold(admin_client):
    page = source(admin_client, failed())

    own = re.search(r'<pre class="dj-pre dj-own"[^>]*>(.*?)</pre>', page, re.DOTALL)[1]
    folded = re.search(
        r'<details class="dj-library"><summary>1 frame of a library</summary>(.*?)</details>', page, re.DOTALL
    )[1]
    assert "gateway.charge(order)" in own and "requests/api.py" not in own
    assert "requests/api.py" in html.unescape(page) and "return request()" not in own
    assert "<pre" in folded


def test_frames_of_libraries_alone_stand_open(admin_client):
    page = source(admin_client, failed(traceback=f"Traceback (most recent call last):\n{REQUESTS}"))

    assert '<details class="dj-library" open data-dj-open><summary>1 frame of a library' in page


def test_what_cannot_be_taken_apart_is_shown_as_it_is(admin_client):
    group = "  + Exception Group Traceback (most recent call last):\n  | ExceptionGroup: many (2 sub-exceptions)\n"

    page = source(admin_client, failed(traceback=group))

    assert "dj-own" not in page.partition("<main")[2]
    assert "ExceptionGroup: many" in page


def test_the_whole_text_is_there_as_well(admin_client):
    page = html.unescape(source(admin_client, failed()))

    assert f"{TRACEBACK}requests.ConnectionError: gateway timed out" in page


def test_a_traceback_is_shown_once_and_other_attempts_refer_to_it(admin_client):
    page = page_of(admin_client, failed(attempts=3))

    assert page.content.decode().count("dj-own") == 1
    assert text(page).count("It failed at the same place as attempt 3.") == 2


def test_of_very_many_attempts_the_last_ones_are_shown(admin_client, monkeypatch):
    monkeypatch.setattr(job_story, "MOST_ATTEMPTS", 3)

    page = text(page_of(admin_client, failed(attempts=7)))

    assert "Attempt 7: failed" in page
    assert "Attempt 4: failed" not in page
    assert "4 attempts before these are not shown." in page


# The story


def test_the_timeline_says_how_long_it_waited_and_why_it_ended(admin_client):
    one = failed(attempts=2, enqueued_at=db_now() - timedelta(seconds=72), reason="no attempts left")

    page = text(page_of(admin_client, one))

    assert re.search(r"Created 7\d s ago Waited (69|70|71)\.\d s in the queue default Attempt 1: failed", page)
    assert re.search(r"Attempt 2: failed \d s ago after 2\.\d s no attempts left", page)


def test_links_lead_to_all_that_the_job_has_to_do_with(admin_client):
    before, other = job("succeeded"), job(task_path="a.b")
    one = failed(parent=before.pk, copied_from=other.pk)
    failed()
    copy = job(copied_from=one.pk)

    page = source(admin_client, one)

    for linked in (before, other, copy):
        assert f"{JOBS}{linked.pk}/change/" in page
    assert "?error=f2" in page and "Show the 2 jobs with this error" in page
    earlier = html.unescape(re.search(r'href="([^"]*)">Earlier jobs of this task', page)[1])
    assert text(admin_client.get(earlier)).count("charge_card(1042") == 1


def test_an_error_that_no_other_job_has_leads_nowhere(admin_client):
    assert "with this error" not in source(admin_client, failed())


# The report


def report_in(page: str) -> str:
    return html.unescape(re.search(r'<pre class="dj-pre" id="dj-report"[^>]*>(.*?)</pre>', page, re.DOTALL)[1])


def test_the_report_has_all_that_one_asks_for_and_no_secret(admin_client):
    worker = Worker.objects.create(id=uuid4(), host="web-1", pid=4127, alive_until=db_now())
    one = failed(attempts=2, kwargs={"amount": 49.9, "pin": "s3cret"})
    Attempt.objects.filter(job=one.pk).update(worker=worker.pk)

    report = report_in(source(admin_client, one))

    for wanted in (
        "charge_card(1042, amount=49.9, pin=hidden)\nFailed. ConnectionError: gateway timed out\n",
        TASK,
        str(one.pk),
        "Python 3.",
        "django_jobs 0.",
        "  amount = 49.9\n  pin = hidden\n",
        "web-1:4127  requests.ConnectionError: gateway timed out",
        f"Traceback, without frames of libraries\n{SHOP}requests.ConnectionError: gateway timed out",
    ):
        assert wanted in report, wanted
    assert "s3cret" not in report
    assert "requests/api.py" not in report


def test_a_report_of_damaged_and_hostile_rows_is_a_text_all_the_same(admin_client):
    one = failed(task_path=f"a.{HOSTILE}", traceback=HOSTILE, queue_name=HOSTILE[:60])
    Job.objects.filter(pk=one.pk).update(args=EncodedText("[1,"))
    Attempt.objects.update(
        message=HOSTILE * 300, exception_class=HOSTILE, args=EncodedText("{"), kwargs=EncodedText("5")
    )

    page = source(admin_client, one)

    assert "<script>alert" not in page
    assert HOSTILE in report_in(page)


# Other arguments


def arguments(one: Job) -> str:
    return f"{JOBS}{one.pk}/arguments/"


def typed(**values: str) -> dict[str, str]:
    return {"arg-order_id": "1042", "arg-amount": "49.9", "how": "retry"} | {
        name if name == "how" else f"arg-{name}": value for name, value in values.items()
    }


def fields_in(client, one: Job) -> dict[str, str]:
    page = client.get(arguments(one)).content.decode()
    shown = re.findall(r'<input type="[a-z]+" name="arg-([a-z_]+)"(?: value="([^"]*)")?', page)
    return {name: html.unescape(value) for name, value in shown}


def test_a_job_is_retried_with_other_arguments_and_keeps_the_old_ones(admin_client):
    one = failed(attempts=2)
    assert arguments(one) in source(admin_client, one)
    assert fields_in(admin_client, one) == {"order_id": "1042", "amount": "49.9", "pin": "", "password": ""}

    response = admin_client.post(arguments(one), typed(amount="5"), follow=True)

    again(one)
    assert (one.state, one.args, one.kwargs) == ("queued", [], {"order_id": 1042, "amount": 5.0})
    assert {(tuple(a.args), a.kwargs["amount"]) for a in one.errors} == {((1042,), 49.9)}
    page = text(response)
    assert "Queued again with these arguments." in page
    assert "charge_card(order_id=1042, amount=5.0)" in page
    assert page.count("With other arguments: charge_card(1042, amount=49.9)") == 2
    assert LogEntry.objects.get().change_message == "Retried with changed arguments: amount."


def test_each_attempt_keeps_its_own_arguments(admin_client):
    one = failed()
    admin_client.post(arguments(one), typed(amount="5"))
    Job.objects.filter(pk=one.pk).update(state="failed", attempt=2, finished_at=db_now())
    Attempt.objects.create(job=one, number=2, kind="failed")

    admin_client.post(arguments(one), typed(amount="6"))

    assert [attempt.kwargs["amount"] for attempt in again(one).errors] == [49.9, 5.0]
    assert one.kwargs["amount"] == 6.0


def test_it_is_run_with_the_other_arguments():
    one = failed(task_path=tasks.add.module_path, args=[1, 2], kwargs={})

    from django_jobs import enqueue

    prepared = tasks.add.prepare((3, 4), {})
    assert enqueue.retry_with(one, prepared.__dict__["args"], prepared.__dict__["kwargs"]) == 1
    testing.run_jobs()

    assert (again(one).state, one.return_value) == ("succeeded", 7)
    assert [attempt.args for attempt in one.errors] == [[1, 2]]


def test_secrets_stay_what_they_are_and_are_not_shown(admin_client):
    one = failed(kwargs={"amount": 49.9, "pin": "s3cret", "password": "s3cret"})
    shown = fields_in(admin_client, one)
    assert shown == {"order_id": "1042", "amount": "49.9", "pin": "hidden", "password": "hidden"}

    response = admin_client.post(arguments(one), typed(pin="hidden", password="new", amount="5"), follow=True)

    assert again(one).kwargs == {"order_id": 1042, "amount": 5.0, "pin": "s3cret", "password": "new"}
    assert "s3cret" not in response.content.decode()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"order_id": ""}, "This field is required."),
        ({"order_id": "many"}, "Enter a whole number."),
        ({"amount": "x"}, "Enter a number."),
    ],
)
def test_what_the_task_does_not_take_is_refused(admin_client, values, message):
    one = failed()

    page = admin_client.post(arguments(one), typed(**values))

    assert message in text(page)
    assert (again(one).state, LogEntry.objects.count()) == ("failed", 0)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"args": "[1,"}, "This is not JSON"),
        ({"args": "[1]", "kwargs": '{"usr": 1}'}, "unexpected argument 'usr'"),
        ({"args": "[]"}, "missing"),
        ({"args": "{}"}, "This must be a JSON list"),
    ],
)
def test_a_call_that_fields_cannot_show_is_json(admin_client, values, message):
    one = failed(args=[1], kwargs={"usr": 1, "password": "s3cret"})
    page = admin_client.get(arguments(one))
    assert "hidden" in page.content.decode() and "s3cret" not in page.content.decode()

    page = admin_client.post(arguments(one), {f"arg-{name}": value for name, value in values.items()})
    assert message in text(page)

    call = {"arg-args": "[7]", "arg-kwargs": '{"password": "hidden"}', "how": "retry"}
    admin_client.post(arguments(one), call)
    assert (again(one).args, one.kwargs, one.state) == ([7], {"password": "s3cret"}, "queued")


def test_too_much_is_refused_as_at_enqueue(admin_client, settings):
    settings.DJANGO_JOBS = settings.DJANGO_JOBS | {"MAX_ARGS_BYTES": 100}
    one = failed()

    page = admin_client.post(arguments(one), typed(password="x" * 200))

    assert "MAX_ARGS_BYTES allows 100" in text(page)
    assert again(one).state == "failed"


def test_arguments_of_all_kinds_come_back_as_they_are(admin_client):
    one = failed(task_path=form_tasks.positional.module_path, args=[1, "two", 3, 4], kwargs={"more": [5]})

    page = admin_client.get(arguments(one)).content.decode()
    shown = dict(re.findall(r'name="(arg-[a-z]+)"[^>]*?value="([^"]*)"', page))
    shown |= dict(re.findall(r'<textarea name="(arg-[a-z]+)"[^>]*>\s*(.*?)</textarea>', page, re.DOTALL))
    admin_client.post(arguments(one), {name: html.unescape(value) for name, value in shown.items()} | {"how": "retry"})

    assert (again(one).state, one.args, one.kwargs) == ("queued", [1, "two", 3, 4], {"more": [5]})


@pytest.mark.parametrize("how", ["again", "retry"])
@pytest.mark.parametrize("state", ["succeeded", "cancelled"])
def test_a_job_without_a_failure_on_record_is_copied_with_other_arguments(admin_client, state, how):
    one = job(state)
    page = source(admin_client, one)
    assert "Retry with changed arguments" not in page and "Run again with changed arguments…" in page

    response = admin_client.post(arguments(one), typed(amount="5", how=how), follow=True)

    copy = Job.objects.get(copied_from=one.pk)
    assert (copy.state, copy.kwargs["amount"], copy.created_by) == ("queued", 5.0, "admin")
    assert (again(one).state, one.kwargs["amount"]) == (state, 49.9)
    assert response.redirect_chain[-1][0] == f"{JOBS}{copy.pk}/change/"
    assert LogEntry.objects.get().object_id == str(one.pk)


@pytest.mark.parametrize("values", [{"task_path": "shop.tasks.gone"}, {"args": EncodedText("[1,")}])
def test_arguments_that_cannot_be_shown_cannot_be_changed(admin_client, values):
    one = failed()
    Job.objects.filter(pk=one.pk).update(**values)

    assert "arguments/" not in source(admin_client, one)
    assert "cannot be changed" in text(admin_client.get(arguments(one), follow=True))


def test_a_job_at_work_keeps_its_arguments(admin_client):
    one = job("running")

    assert "arguments/" not in source(admin_client, one)
    admin_client.post(arguments(one), typed())
    assert (again(one).state, Job.objects.count()) == ("running", 1)


def test_other_arguments_need_the_right_to_run_the_task(as_user):  # noqa: F811
    mine, theirs = failed(), failed(task_path=admin_tasks.for_superusers_only.module_path, args=[], kwargs={})
    client = as_user("change_job")

    assert arguments(mine) in source(client, mine)
    assert arguments(theirs) not in source(client, theirs)
    assert client.post(arguments(theirs), {"how": "retry"}).status_code == 403
    assert again(theirs).state == "failed"


def test_a_failure_that_was_retried_meanwhile_is_left_alone(admin_client):
    one = failed()
    moves.requeue(Job.objects.filter(pk=one.pk))
    from django_jobs import enqueue

    assert enqueue.retry_with(one, EncodedText("[7]"), EncodedText("{}")) == 0

    assert again(one).args == [1042]
    assert [attempt.args for attempt in one.errors] == [None]


# Copies


@pytest.mark.parametrize("state", ["failed", "succeeded", "cancelled"])
def test_a_job_is_run_again_as_a_copy(admin_client, state):
    one = job(state, priority=7, queue_name="mail", metadata={"a": 1}, max_attempts=4, timeout=9, kwargs={"pin": "1"})

    response = admin_client.post(f"{JOBS}{one.pk}/again/", follow=True)

    copy = Job.objects.get(copied_from=one.pk)
    same = ("task_path", "args", "kwargs", "priority", "queue_name", "metadata", "max_attempts", "timeout")
    assert [getattr(copy, name) for name in same] == [getattr(one, name) for name in same]
    assert (copy.state, copy.attempt, copy.created_by, again(one).state) == ("queued", 0, "admin", state)
    assert "This is the copy" in text(response)
    assert LogEntry.objects.get().change_message == f"Run again as {copy.pk}."


def test_a_copy_of_what_is_not_known_here_is_enqueued_as_it_is_stored(admin_client):
    one = job("failed", task_path="shop.tasks.gone")
    Job.objects.filter(pk=one.pk).update(args=EncodedText('[{"$type": "future", "value": "1"}]'))

    admin_client.post(f"{JOBS}{one.pk}/again/")

    copy = Job.objects.get(copied_from=one.pk)
    assert copy.__dict__["args"] == '[{"$type": "future", "value": "1"}]'


# What is shown when


@pytest.mark.parametrize(
    ("state", "buttons"),
    [
        ("queued", {"cancel"}),
        ("running", {"cancel"}),
        ("succeeded", {"retry", "again", "arguments", "delete"}),
        ("failed", {"retry", "again", "arguments", "delete"}),
        ("cancelled", {"retry", "again", "arguments", "delete"}),
    ],
)
def test_buttons_fit_the_state(admin_client, state, buttons):
    one = job(state)

    found = set(re.findall(rf"{one.pk}/(retry|again|arguments|cancel|delete)/", source(admin_client, one)))

    assert found - {"delete"} == buttons - {"delete"}
    assert ("delete" in found) == (state != "running")


@pytest.mark.parametrize(("state", "live"), [("queued", "2"), ("running", "2"), ("failed", "0"), ("succeeded", "0")])
def test_a_page_is_kept_up_to_date_until_the_job_is_finished(admin_client, state, live):
    assert f'data-dj-live="{live}"' in source(admin_client, job(state))


def test_a_refresh_leaves_messages_to_who_loads_the_page(admin_client):
    one = failed()
    admin_client.post(f"{JOBS}{one.pk}/retry/")

    for address in (f"{JOBS}{one.pk}/change/", JOBS):
        refreshed = admin_client.get(address, headers={"X-Dj-Live": "1"})
        assert "Queued again." not in text(refreshed)

    assert "Queued again." in text(page_of(admin_client, one))


def test_the_page_takes_few_queries_however_many_attempts(admin_client):
    worker = Worker.objects.create(id=uuid4(), host="web-1", pid=4127, alive_until=db_now())
    one = failed(attempts=20, worker=worker.pk, schedule=saved(name="every evening"), followed=True)
    job("cancelled", parent=one.pk)
    page_of(admin_client, one)  # what is loaded once

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(f"{JOBS}{one.pk}/change/")

    assert len(queries) <= 8, [query["sql"][:120] for query in queries]
