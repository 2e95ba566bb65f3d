"""The admin: what it shows, who may act, and that nothing typed or stored makes it fall over."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import states
from django_jobs.admin import job_acts
from django_jobs.models import Attempt, EncodedText, Job, Queue, Schedule, Traceback, Worker, db_now
from tests.app import admin_tasks
from tests.test_schedules import saved

pytestmark = pytest.mark.django_db
TASK = admin_tasks.charge_card.module_path
HOSTILE = "<script>alert(1)</script>'\"&{{ 7|add:7 }}‮"
JOBS, SCHEDULES = "/admin/django_jobs/job/", "/admin/django_jobs/schedule/"
QUEUES, WORKERS = "/admin/django_jobs/queue/", "/admin/django_jobs/worker/"
OVERVIEW = "/admin/django_jobs/overview/"


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


def person(*permissions: str) -> User:
    """Make a member of the staff with those permissions on our models, such as "view_job"."""
    user = User.objects.create_user("-".join(permissions)[:100] or "nobody", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    return user


@pytest.fixture
def as_user(client):
    def log_in(*permissions: str):
        client.force_login(person(*permissions))
        return client

    return log_in


def job(state: str = "queued", **values) -> Job:
    if state in states.FINAL:
        values.setdefault("finished_at", db_now())
    return Job.objects.create(
        **{"task_path": TASK, "args": [1042], "kwargs": {"amount": 49.9}, "state": state} | values
    )


def failed_job(**values) -> Job:
    one = job("failed", **{"attempt": 1, "last_error": "ConnectionError: gateway timed out"} | values)
    Traceback.objects.create(fingerprint="f1", text="Traceback (most recent call last):\n  <gateway>")
    Attempt.objects.create(
        job=one,
        number=1,
        kind="failed",
        exception_class="ConnectionError",
        message="gateway timed out",
        fingerprint="f1",
    )
    return one


def text(response) -> str:
    """Return the page's visible text."""
    assert response.status_code == 200, response.status_code
    main = response.content.decode().partition("<main")[2]
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", " ", main)))


# Jobs: the list


def test_the_list_shows_the_call_and_the_error(admin_client):
    failed_job()

    page = text(admin_client.get(JOBS))

    assert "charge_card(1042, amount=49.9)" in page
    assert "ConnectionError: gateway timed out" in page
    assert "failed" in page
    assert "1 of 1" in page
    assert "s ago" in page


def test_tabs_carry_counts_and_filter_by_state(admin_client):
    failed_job()
    job("queued", args=[7])

    page = admin_client.get(JOBS + "?state=failed")

    assert re.search(r"Failed\s+1\s", text(page))
    assert "1042" in text(page)
    assert "charge_card(7" not in text(page)
    assert 'aria-current="page">Failed' in page.content.decode()


@pytest.mark.parametrize("state", states.STATES)
def test_every_state_has_its_tab_and_its_pages(admin_client, state):
    one = job(state, run_after=db_now() + timedelta(hours=1))

    assert "charge_card(1042" in text(admin_client.get(JOBS, {"state": state}))
    assert "charge_card(1042" in text(admin_client.get(f"{JOBS}{one.pk}/change/"))


def test_jobs_are_filtered_by_queue_and_task(admin_client):
    Queue.objects.create(name="reports")
    job(queue_name="reports", args=[1])
    job(args=[2])

    page = text(admin_client.get(JOBS, {"queue": "reports", "task": TASK}))

    assert "charge_card(1, " in page
    assert "charge_card(2, " not in page


@pytest.mark.parametrize("term", ["charge_c", "{pk}", "#{pk}", "CHARGE_CARD"])
def test_jobs_are_found_by_id_and_by_a_part_of_the_tasks_name(admin_client, term):
    one = job()

    assert "charge_card(1042" in text(admin_client.get(JOBS, {"q": term.format(pk=one.pk)}))
    assert "charge_card(1042" not in text(admin_client.get(JOBS, {"q": "nothing"}))
    assert "charge_card(1042" not in text(admin_client.get(JOBS, {"q": str(uuid4())}))


def test_the_list_takes_few_queries_however_many_jobs(admin_client):
    Queue.objects.create(name="default")
    Job.objects.bulk_create([Job(task_path=TASK, args=[n]) for n in range(120)])

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(JOBS)

    assert len(queries) <= 8, [one["sql"][:200] for one in queries]
    assert not [one for one in queries if re.search(r"COUNT\(\*\)(?!.*LIMIT)", one["sql"])]


def test_long_arguments_are_not_read_for_the_list(admin_client):
    job(args=["x" * 100_000])

    page = text(admin_client.get(JOBS))

    assert "charge_card(…)" in page
    assert "xxxx" not in page


@pytest.mark.parametrize("page", ["", "?state=nonsense", "?p=999", "?o=1.2.3", "?q=%00", "?task=nowhere", "?e=1"])
def test_odd_addresses_are_answered(admin_client, page):
    job()

    assert admin_client.get(JOBS + page).status_code in (200, 302)


# Jobs: the page of one


def test_a_job_shows_its_whole_life(admin_client):
    worker = Worker.objects.create(id=uuid4(), host="web-1", pid=4127, alive_until=db_now())
    schedule = saved(name="every evening")
    one = failed_job(created_by="ada", schedule=schedule, worker=worker.pk, claimed_at=db_now())
    Attempt.objects.filter(job=one).update(worker=worker.pk, started_at=db_now() - timedelta(seconds=2))

    page = text(admin_client.get(f"{JOBS}{one.pk}/change/"))

    assert "charge_card(1042, amount=49.9)" in page
    assert "by ada" in page
    assert "by the schedule every evening" in page
    assert "web-1:4127" in page
    assert "Attempt 1: failed" in page
    assert "Traceback (most recent call last)" in page
    assert "<gateway>" in page  # escaped
    assert "order_id" in page


def test_secrets_never_reach_a_page(admin_client):
    one = job(
        kwargs={"pin": "s3cret", "password": "s3cret", "amount": {"api_key": "s3cret"}},
        metadata={"token": "s3cret"},
        context={"authorization": "s3cret"},
    )
    schedule = saved(kwargs={"pin": "s3cret"})

    pages = [JOBS, f"{JOBS}{one.pk}/change/", SCHEDULES, f"{SCHEDULES}{schedule.pk}/change/"]

    for page in pages:
        response = admin_client.get(page)
        assert "s3cret" not in response.content.decode()
        assert "hidden" in text(response) or "hidden" in response.content.decode()


def test_hostile_text_stays_text(admin_client):
    one = failed_job(
        task_path=f"a.{HOSTILE}",
        args=[HOSTILE, "\0\ud800"],
        queue_name=HOSTILE[:60],
        last_error=HOSTILE,
        created_by=HOSTILE,
    )
    Attempt.objects.filter(job=one).update(message=HOSTILE, exception_class=HOSTILE)
    Traceback.objects.update(text=HOSTILE)
    Queue.objects.create(name="q", paused_at=db_now(), paused_by=HOSTILE, reason=HOSTILE)
    Worker.objects.create(id=uuid4(), host=HOSTILE, pid=1, alive_until=db_now(), queues=[HOSTILE])
    schedule = Schedule.objects.create(name=HOSTILE, task_path=f"a.{HOSTILE}", cron="0 0 * * *", note=HOSTILE)

    for page in (JOBS, f"{JOBS}{one.pk}/change/", QUEUES, WORKERS, SCHEDULES, f"{SCHEDULES}{schedule.pk}/change/"):
        response = admin_client.get(page)
        assert response.status_code == 200
        assert b"<script>alert" not in response.content
        assert "{{ 7|add:7 }}" in html.unescape(response.content.decode())


@pytest.mark.parametrize("column", ["args", "kwargs", "return_value", "metadata", "context", "progress"])
@pytest.mark.parametrize("stored", ["[1,", "5", "null", '{"$type": "future", "value": "1"}', "[]"])
def test_damaged_rows_are_shown_all_the_same(admin_client, column, stored):
    one = job()
    Job.objects.filter(pk=one.pk).update(**{column: EncodedText(stored)})

    assert "charge_card" in text(admin_client.get(JOBS))
    assert "charge_card" in text(admin_client.get(f"{JOBS}{one.pk}/change/"))


def test_progress_is_shown(admin_client):
    one = job("running", progress={"done": 30, "total": 100, "text": "rows"})

    page = admin_client.get(f"{JOBS}{one.pk}/change/")

    assert '<progress class="dj-progress" max="100" value="30"' in page.content.decode()


def test_a_job_that_is_not_there_leads_away(admin_client):
    for pk in (uuid4(), "nonsense"):
        assert admin_client.get(f"{JOBS}{pk}/change/").status_code == 302
        assert admin_client.post(f"{JOBS}{pk}/retry/").status_code == 302


# Jobs: acts


def test_a_failed_job_is_retried_by_its_button(admin_client):
    one = failed_job()
    page = admin_client.get(f"{JOBS}{one.pk}/change/").content.decode()
    (action,) = re.findall(r'<form method="post" action="([^"]*retry/)">', page)
    assert "csrfmiddlewaretoken" in page

    response = admin_client.post(action, follow=True)

    one.refresh_from_db()
    assert one.state == "queued"
    assert "Queued again." in text(response)
    entry = LogEntry.objects.get()
    assert (entry.object_id, entry.change_message) == (str(one.pk), "Retried.")


def test_a_waiting_job_is_cancelled_and_a_running_one_is_asked_to_stop(admin_client):
    waiting, running = job(), job("running")

    for one in (waiting, running):
        admin_client.post(f"{JOBS}{one.pk}/cancel/")
        one.refresh_from_db()

    assert (waiting.state, waiting.reason) == ("cancelled", "cancelled by admin")
    assert (running.state, running.cancel_requested_at is not None) == ("running", True)
    assert LogEntry.objects.count() == 2
    assert "asked to stop" in text(admin_client.get(f"{JOBS}{running.pk}/change/"))


def test_an_act_that_comes_too_late_says_so_and_is_not_logged(admin_client):
    one = job("succeeded")

    response = admin_client.post(f"{JOBS}{one.pk}/cancel/", follow=True)

    assert "finished already" in text(response)
    assert not LogEntry.objects.exists()


def test_selected_jobs_are_retried_and_cancelled(admin_client):
    failed, waiting = [failed_job()], [job(), job("scheduled", run_after=db_now())]
    ids = [one.pk for one in failed + waiting]

    page = admin_client.post(JOBS, {"action": "retry_selected", "_selected_action": ids}, follow=True)
    assert "1 job was queued again." in text(page)

    page = admin_client.post(JOBS, {"action": "cancel_selected", "_selected_action": ids}, follow=True)
    assert "3 jobs were cancelled." in text(page)
    assert set(Job.objects.values_list("state", flat=True)) == {"cancelled"}
    assert LogEntry.objects.count() == 4


def test_all_jobs_of_a_filter_are_retried(admin_client):
    now = db_now()
    Job.objects.bulk_create([Job(task_path=TASK, state="failed", finished_at=now) for _ in range(60)])
    one = job("cancelled")

    admin_client.post(
        JOBS + "?state=failed", {"action": "retry_selected", "select_across": 1, "_selected_action": [uuid4()]}
    )

    assert Job.objects.filter(state="queued").count() == 60
    one.refresh_from_db()
    assert one.state == "cancelled"


def test_no_more_jobs_are_deleted_than_the_list_has_counted(admin_client, monkeypatch):
    monkeypatch.setattr(job_acts, "CAP", 3)
    now = db_now()
    jobs = Job.objects.bulk_create([Job(task_path=TASK, state="failed", finished_at=now) for _ in range(5)])

    everything = {"action": "delete_selected", "select_across": 1, "_selected_action": [jobs[0].pk]}
    asked = text(admin_client.post(f"{JOBS}?state=failed", everything))
    admin_client.post(f"{JOBS}?state=failed", everything | {"post": "yes"})

    assert str(jobs[4].pk) in asked and str(jobs[0].pk) not in asked
    assert set(Job.objects.values_list("pk", flat=True)) == {jobs[0].pk, jobs[1].pk}
    assert LogEntry.objects.count() == 3  # of what is gone, and of nothing else


def test_finished_jobs_are_deleted_with_their_attempts(admin_client):
    one, other = failed_job(), job("succeeded")

    assert "charge_card" in text(admin_client.get(f"{JOBS}{one.pk}/delete/"))
    admin_client.post(f"{JOBS}{one.pk}/delete/", {"post": "yes"})
    admin_client.post(JOBS, {"action": "delete_selected", "_selected_action": [other.pk], "post": "yes"})

    assert not Job.objects.exists()
    assert not Attempt.objects.exists()
    assert LogEntry.objects.count() == 2


def test_a_running_job_is_not_deleted(admin_client):
    one = job("running")

    assert admin_client.post(f"{JOBS}{one.pk}/delete/", {"post": "yes"}).status_code == 403
    page = admin_client.post(JOBS, {"action": "delete_selected", "_selected_action": [one.pk], "post": "yes"})
    assert "cancel it first" in text(page)
    assert Job.objects.exists()


def test_who_may_only_look_sees_no_buttons_and_cannot_act(as_user):
    client = as_user("view_job")
    one = failed_job()

    page = admin_page = client.get(f"{JOBS}{one.pk}/change/").content.decode()
    assert "retry/" not in page
    assert "delete/" not in admin_page
    assert "Traceback" in page
    assert "retry_selected" not in client.get(JOBS).content.decode()
    for act in ("retry", "cancel", "change", "delete"):
        assert client.post(f"{JOBS}{one.pk}/{act}/").status_code == 403
    client.post(JOBS, {"action": "retry_selected", "_selected_action": [one.pk]})
    one.refresh_from_db()
    assert one.state == "failed"
    assert not LogEntry.objects.exists()


def test_the_change_permission_gives_retry_and_cancel_and_no_form(as_user):
    client = as_user("change_job")
    one = failed_job()

    assert "retry/" in client.get(f"{JOBS}{one.pk}/change/").content.decode()
    assert client.post(f"{JOBS}{one.pk}/change/", {"state": "succeeded"}).status_code == 403
    assert client.post(f"{JOBS}{one.pk}/retry/").status_code == 302
    one.refresh_from_db()
    assert one.state == "queued"


def test_strangers_are_sent_to_the_login(client):
    one = failed_job()

    for page in (JOBS, f"{JOBS}{one.pk}/change/", SCHEDULES, QUEUES, WORKERS):
        assert "/login/" in client.get(page)["Location"]
    assert "/login/" in client.post(f"{JOBS}{one.pk}/retry/")["Location"]


def test_acts_need_a_post_with_a_token(admin_user):
    from django.test import Client

    one = failed_job()
    careful = Client(enforce_csrf_checks=True)
    careful.force_login(admin_user)

    assert careful.post(f"{JOBS}{one.pk}/retry/").status_code == 403
    assert careful.get(f"{JOBS}{one.pk}/retry/").status_code == 405
    one.refresh_from_db()
    assert one.state == "failed"


def test_pages_and_acts_work_while_redis_is_away(admin_client, settings, redis_away):
    one, waiting = failed_job(), job()
    schedule = saved()

    for page in (JOBS, f"{JOBS}{one.pk}/change/", SCHEDULES, f"{SCHEDULES}{schedule.pk}/change/", QUEUES, WORKERS):
        assert admin_client.get(page).status_code == 200
    admin_client.post(f"{JOBS}{one.pk}/retry/")
    admin_client.post(f"{JOBS}{waiting.pk}/cancel/")
    admin_client.post(f"{SCHEDULES}{schedule.pk}/run/")

    assert sorted(Job.objects.values_list("state", flat=True)) == ["cancelled", "queued", "queued"]


@pytest.fixture
def redis_away(settings):
    settings.CACHES = {"away": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/0"}}
    settings.CACHES["default"] = settings.CACHES["away"]
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": "away"}


# Queues


def test_a_queue_is_paused_with_a_reason_and_goes_on(admin_client):
    queue = Queue.objects.create(name="re_ports.1")

    page = admin_client.get(QUEUES)
    (link,) = re.findall(r'href="(/admin/django_jobs/queue/[^"?]*change/)"', page.content.decode())
    (pause,) = re.findall(r'action="([^"]*pause/)"', admin_client.get(link).content.decode())
    page = admin_client.post(pause, {"reason": "the printer burns"}, follow=True)
    queue.refresh_from_db()
    assert (queue.paused_by, queue.reason) == ("admin", "the printer burns")
    assert "the printer burns" in text(page)
    assert "by admin" in text(admin_client.get(QUEUES))

    admin_client.post(pause.replace("pause/", "resume/"))
    queue.refresh_from_db()
    assert (queue.paused_at, queue.reason) == (None, "")
    assert list(LogEntry.objects.order_by("pk").values_list("change_message", flat=True)) == [
        "Paused: the printer burns",
        "Resumed.",
    ]


def test_selected_queues_are_paused_and_go_on(admin_client):
    Queue.objects.bulk_create([Queue(name="a"), Queue(name="b")])

    admin_client.post(QUEUES, {"action": "pause_selected", "_selected_action": ["a", "b"], "reason": "xy" * 99})
    assert Queue.objects.filter(paused_at__isnull=False, reason__startswith="xyxy").count() == 2

    admin_client.post(QUEUES, {"action": "resume_selected", "_selected_action": ["a"]})
    assert list(Queue.objects.filter(paused_at__isnull=True)) == [Queue(name="a")]


def test_any_reason_typed_into_the_page_of_a_queue_is_kept_as_far_as_it_can_be(admin_client):
    Queue.objects.create(name="a")

    admin_client.post(f"{QUEUES}a/pause/", {"reason": "x\0y" * 999})

    assert Queue.objects.get().reason == "xy" * 100


def test_a_queue_shows_how_many_jobs_wait(admin_client):
    Queue.objects.bulk_create([Queue(name="a"), Queue(name="b")])
    for _number in range(3):
        job(queue_name="b")

    page = admin_client.get(QUEUES).content.decode()

    assert "?state=queued&amp;queue=b" in page
    assert re.search(r"queue=b\">\s*3\s*</a>", page)


def test_who_may_only_look_at_queues_cannot_pause_them(as_user):
    Queue.objects.create(name="a")
    client = as_user("view_queue")

    assert "pause/" not in client.get(f"{QUEUES}a/change/").content.decode()
    assert client.post(f"{QUEUES}a/pause/").status_code == 403


# Workers


def test_workers_are_alive_gone_or_stopped(admin_client):
    now = db_now()
    for host, values in {
        "living": {"alive_until": now + timedelta(minutes=1)},
        "silent": {"alive_until": now - timedelta(minutes=1)},
        "found-dead": {"alive_until": now + timedelta(minutes=1), "lost_at": now},
        "leaving": {"alive_until": now, "stopped_at": now},
    }.items():
        Worker.objects.create(id=uuid4(), host=host, pid=4127, slots=4, queues=["mail"], **values)
    job("running", worker=Worker.objects.get(host="living").pk)

    page = text(admin_client.get(WORKERS))

    for host, word in {"living": "alive", "silent": "gone", "found-dead": "gone", "leaving": "stopped"}.items():
        assert f"{host}:4127 {word} mail" in page
    assert "1 of 4" in page
    for worker in Worker.objects.all():
        assert "mail" in text(admin_client.get(f"{WORKERS}{worker.pk}/change/"))


def test_workers_are_only_looked_at(admin_client):
    worker = Worker.objects.create(id=uuid4(), host="a", pid=1, alive_until=db_now())

    assert admin_client.get(f"{WORKERS}add/").status_code == 403
    assert admin_client.post(f"{WORKERS}{worker.pk}/change/", {}).status_code == 403
    assert admin_client.post(f"{WORKERS}{worker.pk}/delete/", {}).status_code == 403


# Schedules


def form(**values) -> dict:
    """Return what a browser would post."""
    return {
        "name": "evening",
        "enabled": "on",
        "task_path": TASK,
        "args": "[1042]",
        "kwargs": '{"amount": 49.9}',
        "cron": "0 19 * * *",
        "every_0": "",
        "every_1": "minutes",
        "once_at_0": "",
        "once_at_1": "",
        "timezone": "",
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "queue_name": "",
        "priority": "",
    } | values


def errors(response) -> str:
    found = re.findall(r'<ul class="errorlist[^>]*>(.*?)</ul>', response.content.decode(), re.DOTALL)
    return html.unescape(" ".join(found))


def test_a_schedule_is_added_and_planned(admin_client):
    response = admin_client.post(f"{SCHEDULES}add/", form())

    assert response.status_code == 302, errors(response)
    one = Schedule.objects.get()
    assert (one.args, one.kwargs, one.cron) == ([1042], {"amount": 49.9}, "0 19 * * *")
    assert one.next_due_at > db_now()
    assert LogEntry.objects.count() == 1


@pytest.mark.parametrize(
    ("number", "unit", "every"),
    [("15", "minutes", timedelta(minutes=15)), ("1.5", "seconds", timedelta(seconds=1.5)), ("2", "days", timedelta(2))],
)
def test_an_interval_is_a_number_and_a_unit(admin_client, number, unit, every):
    response = admin_client.post(f"{SCHEDULES}add/", form(cron="", every_0=number, every_1=unit))

    assert response.status_code == 302, errors(response)
    one = Schedule.objects.get()
    assert one.every == every
    page = admin_client.get(f"{SCHEDULES}{one.pk}/change/").content.decode()
    assert f'name="every_0" value="{number}"' in page
    assert f'<option value="{unit}" selected>' in page


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cron": "0 3 31 2 *"}, "does not come"),
        ({"cron": "* * * * * *"}, "five fields"),
        ({"cron": ""}, "Say when"),
        ({"cron": "x" * 5000}, "255"),
        ({"cron": "0 3 * * \0"}, "Null characters"),
        ({"every_0": "5"}, "Only one"),
        ({"cron": "", "every_0": "0"}, "one second"),
        ({"cron": "", "every_0": "0.5", "every_1": "seconds"}, "one second"),
        ({"cron": "", "every_0": "999999", "every_1": "days"}, "ten years"),
        ({"cron": "", "every_0": "1e300"}, "digits"),
        ({"cron": "", "every_0": "NaN"}, "number"),
        ({"cron": "", "every_0": "5", "every_1": "fortnights"}, "valid choice"),
        ({"cron": "", "once_at_0": "2020-01-01", "once_at_1": "00:00"}, "passed"),
        ({"cron": "", "once_at_0": "0001-01-01", "once_at_1": "00:00"}, ""),
        ({"cron": "", "once_at_0": "9999-12-31", "once_at_1": "23:59:59"}, "year"),
        ({"cron": "", "once_at_0": "2030-03-31", "once_at_1": "02:30"}, "interpreted"),
        ({"starts_at_0": "9999-12-31", "starts_at_1": "23:59:59"}, "year"),
        ({"ends_at_0": "2020-01-01", "ends_at_1": "00:00"}, "never run"),
        ({"timezone": "Europe/Belrin"}, "Did you mean"),
        ({"timezone": "Europe"}, "no time zone"),
        ({"timezone": "../../../etc/passwd"}, "no time zone"),
        ({"timezone": "\0"}, "Null characters"),
        ({"task_path": "nowhere.at_all"}, "valid choice"),
        ({"task_path": ""}, "required"),
        ({"args": "[1042,"}, "not JSON"),
        ({"args": "{}"}, "list"),
        ({"args": "[NaN]"}, "NaN"),
        ({"args": "[1e999]"}, "inf"),
        ({"args": "[" * 5000}, "not JSON"),
        ({"args": "[" * 105 + "]" * 105}, "nested"),
        ({"args": "[" + "9" * 6000 + "]"}, "digits"),
        ({"args": "[\0]"}, "not JSON"),
        ({"args": '[{"$type": "decimal", "value": "x"}]'}, "damaged"),
        ({"args": "[1, 2, 3, 4]", "kwargs": ""}, "too many positional"),
        ({"args": ""}, "missing a required argument: 'order_id'"),
        ({"args": '["' + "x" * 1024 * 1024 + '"]'}, "MAX_ARGS_BYTES"),
        ({"kwargs": '{"amuont": 1}'}, "unexpected argument 'amuont'"),
        ({"kwargs": "[]"}, "object"),
        ({"kwargs": "amount=1"}, "not JSON"),
        ({"queue_name": "two words"}, "letters, digits"),
        ({"queue_name": "x" * 200}, "64"),
        ({"priority": "101"}, "-100 to 100"),
        ({"priority": "99999999999999999999"}, "-100 to 100"),
        ({"name": ""}, "required"),
        ({"name": "x" * 300}, "200"),
        ({"name": "x\0"}, "Null characters"),
    ],
)
def test_a_mistake_is_named_in_the_form(admin_client, values, words):
    response = admin_client.post(f"{SCHEDULES}add/", form(**values))

    assert response.status_code == 200
    assert errors(response)
    assert words in errors(response)
    assert not Schedule.objects.exists()


def test_a_queue_that_is_not_known_is_refused(admin_client, settings):
    settings.DJANGO_JOBS |= {"QUEUES": ["default", "high"]}

    assert 'Did you mean "high"' in errors(admin_client.post(f"{SCHEDULES}add/", form(queue_name="hihg")))


def test_a_name_that_is_taken_is_refused(admin_client):
    saved(name="evening")

    assert "already exists" in errors(admin_client.post(f"{SCHEDULES}add/", form()))


def test_the_form_keeps_what_it_does_not_understand(admin_client):
    response = admin_client.post(f"{SCHEDULES}add/", form(args="[oops", cron="nonsense"))

    assert "[oops" in response.content.decode()
    assert "nonsense" in response.content.decode()


def test_a_typed_argument_survives_an_edit(admin_client):
    one = saved(kwargs={"amount": datetime(2030, 1, 1, tzinfo=UTC)})
    page = admin_client.get(f"{SCHEDULES}{one.pk}/change/")
    (typed,) = re.findall(r'<textarea name="kwargs"[^>]*>(.*?)</textarea>', page.content.decode(), re.DOTALL)

    response = admin_client.post(f"{SCHEDULES}{one.pk}/change/", form(kwargs=html.unescape(typed), name="x"))

    assert response.status_code == 302, errors(response)
    one.refresh_from_db()
    assert (one.name, one.kwargs) == ("x", {"amount": datetime(2030, 1, 1, tzinfo=UTC)})


def test_a_secret_left_alone_stays_and_a_new_one_is_taken(admin_client):
    one = saved(kwargs={"pin": "1234", "amount": 1})
    address = f"{SCHEDULES}{one.pk}/change/"

    admin_client.post(address, form(kwargs='{"pin": "hidden", "amount": 2}'))
    one.refresh_from_db()
    assert one.kwargs == {"pin": "1234", "amount": 2}

    admin_client.post(address, form(kwargs='{"pin": "5678"}'))
    one.refresh_from_db()
    assert one.kwargs == {"pin": "5678"}


def test_a_secret_does_not_come_along_to_another_task(admin_client):
    one = saved(kwargs={"pin": "1234"})
    other = admin_tasks.with_context.module_path

    response = admin_client.post(
        f"{SCHEDULES}{one.pk}/change/", form(task_path=other, args="", kwargs='{"pin": "hidden"}')
    )

    assert "anew" in errors(response)


def test_damaged_arguments_can_be_mended(admin_client):
    one = saved()
    Schedule.objects.filter(pk=one.pk).update(args=EncodedText("[1,"))

    page = admin_client.get(f"{SCHEDULES}{one.pk}/change/")
    assert ">\n[1,</textarea>" in page.content.decode()
    assert "charge_card(…)" in text(admin_client.get(SCHEDULES))

    assert admin_client.post(f"{SCHEDULES}{one.pk}/change/", form()).status_code == 302
    one.refresh_from_db()
    assert one.args == [1042]


@pytest.mark.parametrize(
    "values", [{"cron": "nonsense", "every": None}, {"timezone": "Nowhere/At_all"}, {"every": -timedelta(1)}]
)
def test_a_schedule_that_became_invalid_is_shown_and_can_be_mended(admin_client, values):
    one = saved()
    Schedule.objects.filter(pk=one.pk).update(**values)

    assert admin_client.get(SCHEDULES).status_code == 200
    assert admin_client.get(f"{SCHEDULES}{one.pk}/change/").status_code == 200
    assert admin_client.post(f"{SCHEDULES}{one.pk}/change/", form()).status_code == 302


def test_a_schedule_of_a_task_unknown_here_can_be_disabled(admin_client):
    one = saved(task_path="elsewhere.tasks.mystery")
    address = f"{SCHEDULES}{one.pk}/change/"
    posted = form(task_path="elsewhere.tasks.mystery")

    assert "not known here" in admin_client.get(address).content.decode()
    assert "no task elsewhere.tasks.mystery" in errors(admin_client.post(address, posted))
    del posted["enabled"]
    assert admin_client.post(address, posted).status_code == 302


def test_the_list_says_when_in_words_and_what_is_due_next(admin_client):
    saved(name="evening", cron="0 19 * * mon-fri", timezone="Asia/Tokyo")
    saved(name="often", every=timedelta(minutes=90))
    saved(name="never", enabled=False)

    page = text(admin_client.get(SCHEDULES))

    assert "At 19:00, Monday through Friday (Asia/Tokyo)" in page
    assert "Every 1 hour 30 minutes" in page
    assert "in 89 min" in page or "in 90 min" in page
    assert "off" in page


def test_a_run_that_is_late_is_loud(admin_client):
    Schedule.objects.filter(pk=saved().pk).update(next_due_at=db_now() - timedelta(minutes=5))

    assert "late by 5 min: is a worker running?" in text(admin_client.get(SCHEDULES))


def test_a_schedule_shows_its_next_five_runs(admin_client):
    one = saved(cron="0 19 * * *", timezone="Asia/Tokyo")

    page = text(admin_client.get(f"{SCHEDULES}{one.pk}/change/"))

    assert page.partition("Next runs")[2].count("19:00 JST") == 5


def test_a_schedule_runs_now(admin_client):
    one = saved()

    page = admin_client.post(f"{SCHEDULES}{one.pk}/run/", follow=True)
    assert "This is the job" in text(page)
    page = admin_client.post(SCHEDULES, {"action": "run_selected", "_selected_action": [one.pk]}, follow=True)
    assert "1 job was made." in text(page)

    assert list(Job.objects.values_list("schedule", "created_by")) == [(one.pk, "admin")] * 2
    assert LogEntry.objects.filter(change_message="Run now.").count() == 2
    assert "charge_card(1)" in text(admin_client.get(JOBS, {"schedule__id__exact": one.pk}))


def test_a_schedule_that_cannot_run_now_says_why(admin_client):
    one, other = saved(name="a", kwargs={"amuont": 1}), saved(name="b", task_path="nowhere.x")

    page = admin_client.post(SCHEDULES, {"action": "run_selected", "_selected_action": [one.pk, other.pk]}, follow=True)

    assert "unexpected argument 'amuont'" in text(page)
    assert "no task nowhere.x" in text(page)


def test_schedules_are_switched_off_and_on(admin_client):
    one = saved()

    admin_client.post(SCHEDULES, {"action": "disable_selected", "_selected_action": [one.pk]})
    one.refresh_from_db()
    assert (one.enabled, one.next_due_at) == (False, None)

    admin_client.post(SCHEDULES, {"action": "enable_selected", "_selected_action": [one.pk]})
    one.refresh_from_db()
    assert one.next_due_at > db_now()


def test_a_schedule_is_deleted_and_its_jobs_stay(admin_client):
    one = saved()
    made = job(schedule=one)

    assert "tonight" in text(admin_client.get(f"{SCHEDULES}{one.pk}/delete/"))
    admin_client.post(f"{SCHEDULES}{one.pk}/delete/", {"post": "yes"})

    made.refresh_from_db()
    assert made.schedule is None
    assert not Schedule.objects.exists()


EDITOR = ("view_schedule", "add_schedule", "change_schedule")
PRIVATE = admin_tasks.for_superusers_only.module_path
REPORT = admin_tasks.report.module_path


def test_others_than_superusers_schedule_only_tasks_declared_for_the_admin(as_user):
    client = as_user(*EDITOR)

    page = client.get(f"{SCHEDULES}add/").content.decode()
    assert TASK in page
    assert PRIVATE not in page
    assert REPORT not in page
    assert "valid choice" in errors(client.post(f"{SCHEDULES}add/", form(task_path=PRIVATE, args="", kwargs="")))
    assert client.post(f"{SCHEDULES}add/", form()).status_code == 302


def test_a_task_may_name_the_permission_it_needs(as_user):
    client = as_user(*EDITOR, "view_effect")

    response = client.post(f"{SCHEDULES}add/", form(task_path=REPORT, args='["May"]', kwargs=""))

    assert response.status_code == 302, errors(response)


def test_a_schedule_of_a_task_that_one_may_not_run_is_only_looked_at(as_user):
    one = saved(task_path=PRIVATE, args=[])
    client = as_user(*EDITOR)
    address = f"{SCHEDULES}{one.pk}"

    page = client.get(f"{address}/change/").content.decode()
    assert "run/" not in page
    assert 'name="_save"' not in page
    assert client.post(f"{address}/change/", form()).status_code == 403
    client.post(f"{address}/run/")
    client.post(SCHEDULES, {"action": "run_selected", "_selected_action": [one.pk]})
    client.post(SCHEDULES, {"action": "disable_selected", "_selected_action": [one.pk]})
    one.refresh_from_db()
    assert one.enabled
    assert not Job.objects.exists()


def test_who_may_only_look_at_schedules_sees_no_secret_and_cannot_act(as_user):
    one = saved(kwargs={"pin": "s3cret"})
    client = as_user("view_schedule")

    page = client.get(f"{SCHEDULES}{one.pk}/change/")
    assert "s3cret" not in page.content.decode()
    assert "pin=hidden" in text(page)
    assert client.post(f"{SCHEDULES}{one.pk}/run/").status_code == 403
    assert client.post(f"{SCHEDULES}{one.pk}/change/", form()).status_code == 403


# All pages


def test_no_page_has_inline_scripts_or_styles(admin_client):
    one, schedule = failed_job(), saved()
    Queue.objects.create(name="a")
    worker = Worker.objects.create(id=uuid4(), host="a", pid=1, alive_until=db_now())

    for page in (
        *(OVERVIEW, JOBS, SCHEDULES, QUEUES, WORKERS, f"{SCHEDULES}add/", f"{QUEUES}a/change/"),
        *(f"{JOBS}{one.pk}/change/", f"{SCHEDULES}{schedule.pk}/change/", f"{WORKERS}{worker.pk}/change/"),
    ):
        source = admin_client.get(page).content.decode()
        assert "django_jobs/admin.css" in source
        assert not re.search(r"<style|\sstyle=|\son\w+=", source)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source) if "application/json" not in tag)


def test_histories_are_shown(admin_client):
    one, schedule = failed_job(), saved()
    admin_client.post(f"{JOBS}{one.pk}/retry/")

    assert "Retried." in text(admin_client.get(f"{JOBS}{one.pk}/history/"))
    assert admin_client.get(f"{SCHEDULES}{schedule.pk}/history/").status_code == 200


@pytest.mark.django_db(databases=["default", "other"])
def test_everything_happens_on_the_database_of_the_jobs(admin_client, settings):
    settings.DJANGO_JOBS |= {"DATABASE": "other"}
    failed, gone = (
        Job.objects.using("other").create(task_path=TASK, state="failed", finished_at=db_now()) for _ in "ab"
    )
    Queue.objects.using("other").create(name="a")

    admin_client.post(f"{JOBS}{failed.pk}/retry/")
    admin_client.post(f"{JOBS}{gone.pk}/delete/", {"post": "yes"})
    admin_client.post(f"{QUEUES}a/pause/")
    assert admin_client.post(f"{SCHEDULES}add/", form()).status_code == 302
    (one,) = Schedule.objects.using("other")
    admin_client.post(f"{SCHEDULES}{one.pk}/change/", form(name="x"))
    admin_client.post(f"{SCHEDULES}{one.pk}/run/")
    for page in (JOBS, f"{JOBS}{failed.pk}/change/", SCHEDULES, f"{SCHEDULES}{one.pk}/change/", QUEUES, WORKERS):
        assert admin_client.get(page).status_code == 200
    assert "charge_card" in text(admin_client.get(JOBS))
    admin_client.post(f"{SCHEDULES}{one.pk}/delete/", {"post": "yes"})

    assert list(Job.objects.using("other").values_list("state", flat=True)) == ["queued", "queued"]
    assert Queue.objects.using("other").get(name="a").paused_at
    assert not Schedule.objects.using("other").exists()
    assert not any(model.objects.using("default").exists() for model in (Job, Schedule))


def test_a_job_shows_its_log_and_who_follows_it(as_user):
    first = job("succeeded", followed=True, log=f"2026-01-01 00:00:00 {HOSTILE}\n")
    second = job("queued", parent=first.pk)
    client = as_user("view_job")

    page = client.get(f"{JOBS}{first.pk}/change/").content.decode()

    assert "2026-01-01 00:00:00 &lt;script&gt;" in page and HOSTILE not in page
    assert f'<a href="{JOBS}{second.pk}/change/">charge_card</a> queued' in page
    assert f"{JOBS}{first.pk}/change/" in client.get(f"{JOBS}{second.pk}/change/").content.decode()
