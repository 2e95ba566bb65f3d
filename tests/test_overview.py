"""The overview in the admin: what it says of queues, workers, errors and schedules, and who may act on it."""

from __future__ import annotations

import re
import time
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import health
from django_jobs.models import Attempt, Counter, Job, Queue, Schedule, Worker, db_now, frozen_clock
from django_jobs.models.counter import HOUR, MINUTE
from tests.test_admin import HOSTILE, TASK, as_user, failed_job, job, text, without_redis  # noqa: F401  fixtures

pytestmark = pytest.mark.django_db
OVERVIEW = "/admin/django_jobs/overview/"


def worker(**values) -> Worker:
    times = {"alive_until": db_now() + timedelta(minutes=1), "info": {"memory_mb": 184}}
    return Worker.objects.create(**{"id": uuid4(), "host": "web-1", "pid": 4127, "slots": 4} | times | values)


def queue(name: str = "default", **values) -> Queue:
    return Queue.objects.create(name=name, **values)


def counted(kind: str, count: int, *, minutes_ago: int = 1, seconds: int = MINUTE, bucket: int = 0) -> None:
    since = db_now().replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    Counter.objects.create(since=since, seconds=seconds, queue_name="default", kind=kind, bucket=bucket, count=count)


def overview(client, **headers) -> str:
    return text(client.get(OVERVIEW, headers=headers))


def overview_html(client) -> str:
    return client.get(OVERVIEW).content.decode()


# Finding it


def test_it_is_the_first_link_below_the_app(admin_client):
    for page in ("/admin/", "/admin/django_jobs/"):
        links = re.findall(r'href="(/admin/django_jobs/[a-z]+/)"', admin_client.get(page).content.decode())
        assert links[0] == OVERVIEW


def test_an_empty_project_is_told_the_next_step(admin_client):
    page = overview(admin_client)

    assert "Nothing needs your attention." in page
    assert "manage.py runworker" in page
    assert "my_task.enqueue()" in page


# Alerts


def test_a_queue_that_nobody_listens_to_is_told_with_the_command(admin_client):
    queue("reports")
    worker(queues=["default"])
    for _ in range(3):
        job(queue_name="reports", enqueued_at=db_now() - timedelta(minutes=6))

    page = overview(admin_client)

    assert 'No worker listens to "reports". 3 jobs wait, the oldest for 6 min' in page
    assert "manage.py runworker --queues reports" in page


def test_the_words_are_those_of_the_command(admin_client):
    queue("reports")
    job(queue_name="reports")

    (problem,) = health.problems()

    assert problem.what in overview(admin_client)
    assert problem.command in overview(admin_client)


def test_a_paused_queue_says_by_whom_since_when_and_why(admin_client):
    queue(paused_at=db_now() - timedelta(hours=1), paused_by="ada", reason="the provider is down")

    page = overview(admin_client)

    assert re.search(r'Queue "default" is paused since [\d: -]+ by ada \(1 h\). the provider is down', page)


def test_a_queue_in_which_nothing_moves_is_told(admin_client):
    queue()
    worker()
    job(enqueued_at=db_now() - timedelta(minutes=6))

    assert 'Nothing of "default" has been started for 1 min' in overview(admin_client)

    counted("succeeded", 1, minutes_ago=0)
    assert "Nothing needs your attention" in overview(admin_client)


@pytest.mark.parametrize(
    ("values", "others", "sentence"),
    [
        ({}, True, "starts again within seconds: charge_card(1042, amount=49.9)"),
        ({}, False, "No other worker is alive"),
        ({"lost": True}, True, "was given back"),
    ],
)
def test_a_worker_that_is_gone_is_loud(admin_client, values, others, sentence):
    now = db_now()
    gone = worker(host="web-2", alive_until=now - timedelta(seconds=90), beat_at=now - timedelta(seconds=96))
    job("running", worker=gone.pk)
    if values:
        Worker.objects.filter(pk=gone.pk).update(lost_at=now)
    if others:
        worker()

    with frozen_clock(now):
        page = overview(admin_client)

    assert "Worker web-2:4127 is gone: no heartbeat for 1 min 3" in page
    assert sentence in page
    assert ("1 of 2 workers alive" if others else "0 of 1") in page


def test_redis_away_is_told_within_two_seconds_and_workers_that_go_on_without_it(admin_client, settings):
    worker(info={"without_redis_s": 185})
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/0"}}
    settings.DJANGO_JOBS = {"QUEUES": []}
    started = time.monotonic()

    page = overview(admin_client)

    assert "Redis at 127.0.0.1:1/0 does not answer (for 3 min 5 s)" in page
    assert "Workers go on from the database" in page
    assert time.monotonic() - started < 10  # two seconds on a quiet machine


def test_failures_far_above_the_usual_are_told(admin_client):
    counted("failed", 5)
    assert "attempts failed" not in overview(admin_client)

    counted("retried", 45)
    counted("failed", 143, minutes_ago=300, seconds=HOUR)

    page = overview(admin_client)
    assert "50 attempts failed in the last 10 minutes. Usually it is 1.0." in page

    counted("failed", 10_000, minutes_ago=400, seconds=HOUR)
    assert "attempts failed in the last 10" not in overview(admin_client)


def test_a_missed_schedule_is_told(admin_client):
    late = Schedule.objects.create(name="nightly", task_path=TASK, cron="0 0 * * *")
    Schedule.objects.filter(pk=late.pk).update(next_due_at=db_now() - timedelta(hours=2))

    assert 'The schedule "nightly" is late by 2 h.' in overview(admin_client)


def test_a_task_that_workers_do_not_know_is_told(admin_client):
    soon = db_now() + timedelta(seconds=20)
    job("scheduled", task_path="shop.tasks.new", run_after=soon, reason="No task shop.tasks.new is known.")
    job("scheduled", run_after=soon)

    page = overview(admin_client)

    assert "Workers gave back 1 job of shop.tasks.new. No task shop.tasks.new is known. It is tried again" in page


# Figures


def test_tiles_lead_to_the_rows_that_they_count(admin_client):
    queue()
    failed_job()
    job(), job(), job("running"), job("retrying", run_after=db_now()), job("scheduled", run_after=db_now())
    counted("failed", 1), counted("succeeded", 82)
    html = overview_html(admin_client)

    tiles = re.findall(
        r'<a class="dj-tile[^"]*" href="([^"]*)"><span class="dj-number">([^<]*)</span> <span[^>]*>([^<]*)', html
    )

    shown = {label: (number, link.partition("?")[2]) for link, number, label in tiles}
    assert shown == {
        "waiting": ("2", "state=queued"),
        "running": ("1", "state=running"),
        "will be retried": ("1", "state=retrying"),
        "failed": ("1", "state=failed"),
        "scheduled": ("1", "state=scheduled"),
        "workers alive": ("0", ""),
    }
    assert "1 in 24 h (1.2 %)" in html


def test_the_chart_and_its_table_show_the_same_numbers(admin_client):
    now = db_now()
    with frozen_clock(now):
        counted("succeeded", 1234, minutes_ago=3)
        counted("failed", 56, minutes_ago=3)
        counted("run", 10, bucket=8)
        queue()  # without any, the page need not ask for the time
        html = overview_html(admin_client)

    minute = f"{(now - timedelta(minutes=3)).astimezone():%M}"
    assert re.search(rf"<title>\d\d:{minute}: 1,234 ✓ 56 ✗</title>", html)
    assert re.search(r'<th scope="row">\d\d:\d\d</th><td class="dj-right">1234</td><td class="dj-right">56</td>', html)
    assert re.search(r"Run time</th><td[^>]*>350 ms", html)


def test_queues_show_what_waits_and_who_serves_them(admin_client):
    queue()
    one = worker(queues=["default"])
    job(enqueued_at=db_now() - timedelta(minutes=72))
    job(priority=50)
    job("running", worker=one.pk)
    counted("wait", 10, bucket=9)

    page = overview(admin_client)

    assert re.search(r"default 2 72 min 750 ms 1 1 Pause…", page)
    assert re.search(r"web-1:4127 alive default 1 of 4 charge_card\(1042, amount=49.9\)", page)
    assert "184 MB" in page


def test_errors_are_grouped_and_all_their_jobs_retried(admin_client):
    first = failed_job()
    for _ in range(2):
        other = job("failed", attempt=2)
        Attempt.objects.create(job=other, number=2, kind="failed", exception_class="ConnectionError", fingerprint="f1")
    recovered = job("succeeded", attempt=2)
    Attempt.objects.create(job=recovered, number=1, kind="failed", exception_class="ConnectionError", fingerprint="f1")
    html = overview_html(admin_client)

    assert "ConnectionError: gateway timed out" in html
    (link,) = re.findall(r'href="([^"]*error=f1)"', html)
    assert text(admin_client.get(link)).count("charge_card(1042") == 3
    (action,) = re.findall(r'action="([^"]*/retry/f1/)"', html)
    assert "Retry 3<" in html

    page = text(admin_client.post(action, follow=True))

    assert "3 jobs were queued again." in page
    first.refresh_from_db(), recovered.refresh_from_db()
    assert (first.state, recovered.state) == ("queued", "succeeded")
    assert LogEntry.objects.count() == 3
    assert "No job of these is failed any more." in text(admin_client.post(action, follow=True))


def test_it_takes_eight_queries_however_much_there_is(admin_client):
    now = db_now()
    for name in ("a", "b", "c", "d"):
        queue(name)
    for number in range(4):
        one = worker(pid=number)
        job("running", worker=one.pk)
    Job.objects.bulk_create([Job(task_path=TASK, args=[n], queue_name="b") for n in range(50)])
    Job.objects.bulk_create([Job(task_path=TASK, state="failed", finished_at=now) for _ in range(50)])
    failed_job()
    counted("failed", 1), counted("wait", 1)
    Schedule.objects.create(name="nightly", task_path=TASK, cron="0 0 * * *")

    with CaptureQueriesContext(connection) as queries:
        admin_client.get(OVERVIEW)

    assert len(queries) <= 8, [one["sql"][:150] for one in queries]
    for one in queries:
        for from_job in re.findall(r'(?:COUNT|DISTINCT|GROUP BY)[^()]*FROM "django_jobs_job"', one["sql"]):
            raise AssertionError(from_job)


def test_damaged_and_hostile_rows_are_shown_all_the_same(admin_client):
    queue("q", paused_at=db_now(), paused_by=HOSTILE, reason=HOSTILE)
    one = worker(host=HOSTILE, queues=[HOSTILE], info=[1])
    job("running", worker=one.pk, task_path=f"a.{HOSTILE}", args=[HOSTILE], kwargs={"password": "s3cret"})
    job("scheduled", reason=HOSTILE, run_after=db_now(), task_path=HOSTILE)
    failed_job()
    Attempt.objects.update(exception_class=HOSTILE, message=HOSTILE)
    Schedule.objects.create(name=HOSTILE, task_path=TASK, cron="0 0 * * *")

    html = overview_html(admin_client)

    assert "<script>alert" not in html
    assert "s3cret" not in html
    assert not re.search(
        r"<script(?![^>]*\bsrc=)(?![^>]*type=\"application/json\")|\sstyle=|\son\w+=", html.partition("<main")[2]
    )


# Acts


def test_a_queue_is_paused_with_a_reason_and_goes_on_from_here(admin_client):
    one = queue()
    (action,) = re.findall(r'action="([^"]*/pause/)"', overview_html(admin_client))

    response = admin_client.post(action, {"reason": "a deploy", "from": "overview"})
    assert response.url == OVERVIEW
    one.refresh_from_db()
    assert (one.paused_by, one.reason) == ("admin", "a deploy")

    (action,) = re.findall(r'action="([^"]*/resume/)"', overview_html(admin_client))
    admin_client.post(action, {"from": "overview"})
    one.refresh_from_db()
    assert one.paused_at is None
    assert LogEntry.objects.count() == 2


def test_a_queue_is_purged_by_a_button_with_the_count(admin_client):
    queue("mail")
    waiting = [job(queue_name="mail") for _ in range(3)]
    other = job()
    address = "/admin/django_jobs/queue/mail/"
    assert "Purge 3<" in admin_client.get(f"{address}change/").content.decode()

    page = text(admin_client.post(f"{address}purge/", follow=True))

    assert "3 jobs were cancelled." in page
    waiting[0].refresh_from_db(), other.refresh_from_db()
    assert (waiting[0].state, waiting[0].reason, other.state) == ("cancelled", "purged by admin", "queued")
    assert LogEntry.objects.get().change_message == "Purged: 3 jobs."
    assert "Nothing waits" in text(admin_client.post(f"{address}purge/", follow=True))


def test_a_worker_is_told_to_be_quiet_to_go_on_and_to_stop(admin_client):
    one = worker()
    for act, word, wish in [("quiet", "quiet", "quiet"), ("wake", "alive", ""), ("stop", "stopping", "stop")]:
        (action,) = re.findall(rf'action="([^"]*/{act}/)"', overview_html(admin_client))
        assert admin_client.post(action, {"from": "overview"}).url == OVERVIEW
        one.refresh_from_db()
        assert one.wish == wish
        assert f"web-1:4127 {word}" in overview(admin_client)
    assert LogEntry.objects.count() == 3

    admin_client.post(action.replace("stop", "quiet"))  # it is stopping already
    one.refresh_from_db()
    assert (one.wish, LogEntry.objects.count()) == ("stop", 3)


ACTS = ("queue/default/pause", "queue/default/resume", "queue/default/purge", "overview/retry/f1")


def test_who_may_only_look_sees_no_button_and_cannot_act(as_user):  # noqa: F811
    queue()
    one = worker()
    failed_job()
    client = as_user("view_job", "view_queue", "view_worker", "view_schedule")
    html = overview_html(client)

    assert "<form" not in html.partition("<main")[2]
    for act in (*ACTS, f"worker/{one.pk}/quiet", f"worker/{one.pk}/wake", f"worker/{one.pk}/stop"):
        assert client.post(f"/admin/django_jobs/{act}/").status_code == 403, act
    assert not LogEntry.objects.exists()


def test_each_part_is_for_those_who_may_view_what_it_is_about(as_user):  # noqa: F811
    page = overview(as_user("view_job"))

    assert "The last hour" in page
    assert not re.search("Queues|Doing now|Next scheduled", page)


def test_others_see_nothing(client, as_user):  # noqa: F811
    assert client.get(OVERVIEW).status_code == 302
    assert as_user("view_queue").get(OVERVIEW).status_code == 403


def test_acts_need_a_post(admin_client):
    one = worker()
    for act in (*ACTS, f"worker/{one.pk}/quiet"):
        assert admin_client.get(f"/admin/django_jobs/{act}/").status_code == 405


def test_a_refresh_leaves_messages_to_the_page(admin_client):
    queue()
    admin_client.post("/admin/django_jobs/queue/default/pause/", {"from": "overview"})

    assert "1 queue was paused." not in overview(admin_client, **{"X-Dj-Live": "1"})
    assert "1 queue was paused." in overview(admin_client)
