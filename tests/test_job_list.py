"""The list of jobs: searching, pages by key, the tab of what was tried again, and retrying all that a list shows."""

from __future__ import annotations

import re
from datetime import timedelta
from uuid import uuid4

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext

from django_jobs import bulk, states, testing
from django_jobs.admin import job_list, paging, retry_all
from django_jobs.admin.job_search import NotUnderstood, parsed
from django_jobs.exceptions import JobCancelled
from django_jobs.models import Attempt, Job, Queue, db_now
from django_jobs.selection import Selection, after_each_other
from django_jobs.tasks import TaskContext, registry
from tests.app import admin_tasks
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

pytestmark = pytest.mark.django_db
REPORT = admin_tasks.report.module_path


def failed(number: int = 1, error: str = "gateway timed out", fingerprint: str = "f2", **values) -> Job:
    one = job("failed", **{"args": [number], "attempt": 1, "last_error": f"ConnectionError: {error}"} | values)
    Attempt.objects.create(
        job=one,
        number=one.attempt,
        kind="failed",
        exception_class="requests.ConnectionError",
        message=error,
        fingerprint=fingerprint,
    )
    return one


def many(count: int, state: str = "failed", **values) -> list[Job]:
    ended = db_now() if state in states.FINAL else None
    return Job.objects.bulk_create(
        [Job(task_path=TASK, args=[n], state=state, finished_at=ended, **values) for n in range(count)]
    )


def shown(response) -> list[int]:
    """Return the first argument of each job on the page, from the top."""
    return [int(one) for one in re.findall(r"charge_card\((\d+)", text(response))]


def listed(client, **params: str) -> list[int]:
    return shown(client.get(JOBS, params))


def link(response, label: str) -> str | None:
    found = re.search(rf'href="(\?[^"]*)"[^>]*>(?:← )?{label}', response.content.decode())
    return found and found[1].replace("&amp;", "&")


def retry_action(response) -> str | None:
    found = re.search(r'action="([^"]*/retry-all/[^"]*)"', response.content.decode())
    return found and found[1].replace("&amp;", "&")


# Searching


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("", [4, 3, 2, 1]),
        ("charge", [4, 3, 2, 1]),
        ("task:charge_card", [4, 3, 2, 1]),
        ("task:report", []),
        ("queue:mail", [2]),
        ("queue:nowhere", []),
        ("state:failed", [4, 3]),
        ("STATE:Failed", [4, 3]),
        ("error:timed", [3]),
        ('error:"gateway timed out"', [3]),
        ('error:"ConnectionError: GATEWAY timed"', [3]),
        ("error:100%", [4]),
        ("task:charge queue:mail", [2]),
        ("state:failed error:ConnectionError charge", [4, 3]),
        ("state:failed state:queued", []),
        ('"charge_card"', [4, 3, 2, 1]),
        ('"', [4, 3, 2, 1]),
        ("nothing_of_that_name", []),
    ],
)
def test_what_is_typed_finds_jobs(admin_client, search, found):
    job(args=[1])
    job(args=[2], queue_name="mail")
    failed(3)
    failed(4, error="100% of it is gone")

    assert listed(admin_client, q=search) == found


@pytest.mark.parametrize("form", ["{}", "#{}", "  {} ", "charge #{}"])
def test_an_id_finds_its_job(admin_client, form):
    one, _other = job(args=[1]), job(args=[2])

    assert listed(admin_client, q=form.format(one.pk)) == [1]
    assert listed(admin_client, q=form.format(one.pk.hex)) == [1]
    assert listed(admin_client, q=form.format(uuid4())) == []


def test_jobs_of_a_task_that_is_not_known_here_are_found_by_its_path(admin_client):
    job(task_path="shop.tasks.removed_last_week")

    assert "removed_last_week" in text(admin_client.get(JOBS, {"q": "shop.tasks.removed_last_week"}))


@pytest.mark.parametrize(
    ("search", "message"),
    [
        ("foo:bar", "“foo:” is not known here. Write task:, queue:, state:, error: or #id"),
        ("task:", "Write what to look for right after “task:”"),
        ('error:""', "right after “error:”"),
        ("ConnectionError: no", "“ConnectionError:” is not known here"),
        ("#12", "“12” is not a job’s id."),
        ("state:broken", "“broken” is no state. The states are scheduled, queued"),
        ("a " * 30, "Look for 20 things at most."),
    ],
)
def test_a_search_that_is_none_says_what_would_be_one(admin_client, search, message):
    job(args=[1])

    page = admin_client.get(JOBS, {"q": search})

    assert message in text(page)
    assert shown(page) == []
    assert retry_action(page) is None
    with pytest.raises(NotUnderstood):
        parsed(search)


@pytest.mark.parametrize(
    "search", [HOSTILE, '":', ":", "::", "a:b:c", '"""', "task:'", "%", "_", "\\", "error:\\", "x" * 500]
)
def test_whatever_is_typed_is_answered(admin_client, search):
    failed()

    page = admin_client.get(JOBS, {"q": search})

    assert page.status_code == 200
    assert b"<script>alert" not in page.content


@pytest.mark.parametrize("name", ["state", "task", "queue", "error", "tries", "before", "after", "q"])
def test_nul_in_an_address_is_answered(admin_client, name):
    failed()

    assert admin_client.get(f"{JOBS}?{name}=a%00b").status_code == 200


def test_the_help_names_the_qualifiers(admin_client):
    page = text(admin_client.get(JOBS))

    for word in ("task:", "queue:", "state:", "error:", "id"):
        assert word in page


def test_errors_are_looked_for_in_the_newest_attempts_and_the_list_says_so(admin_client, monkeypatch):
    monkeypatch.setattr("django_jobs.selection.NEWEST_ATTEMPTS", 2)
    for number in range(4):
        failed(number)

    page = admin_client.get(JOBS, {"q": "error:gateway"})

    assert shown(page) == [3, 2]
    assert "Among the newest 10,000 attempts that did not succeed." in text(page)


# What needed more than one try


def test_a_tab_shows_what_needed_more_than_one_attempt(admin_client):
    once, again, still = failed(1), failed(2, attempt=2), job("queued", args=[3], attempt=2)
    succeeded = job("succeeded", args=[4], attempt=3)
    for one in (again, still, succeeded):
        Attempt.objects.create(job=one, number=1, kind="failed")
    assert once.attempt == 1

    page = admin_client.get(JOBS)
    assert re.search(r"More than one attempt\s+3\s", text(page))

    page = admin_client.get(JOBS + link(page, "More than one attempt"))
    assert shown(page) == [4, 3, 2]
    assert 'aria-current="page">More than one attempt' in page.content.decode()


# Pages by key


@pytest.fixture
def small_pages(monkeypatch):
    from django.contrib import admin

    monkeypatch.setattr(admin.site._registry[Job], "list_per_page", 3)


def walk(client, start: str, label: str) -> list[list[int]]:
    """Return the pages that one comes by, following a link, at most ten."""
    response, pages = client.get(JOBS + start), []
    for _ in range(10):
        pages.append(shown(response))
        following = link(response, label)
        if following is None:
            break
        response = client.get(JOBS + following)
    return pages


@pytest.mark.parametrize("state", ["failed", "queued"])
@pytest.mark.parametrize("filters", ["", "?state={}", "?task=" + TASK, "?state={}&q=charge"])
def test_older_jobs_follow_page_by_page_and_lead_back(admin_client, small_pages, filters, state):
    many(8, state)
    start = filters.format(state)

    assert walk(admin_client, start, "Older") == [[7, 6, 5], [4, 3, 2], [1, 0]]

    last = admin_client.get(JOBS + start)
    while following := link(last, "Older"):
        last = admin_client.get(JOBS + following)
    assert walk(admin_client, link(last, "Newer"), "Newer") == [[4, 3, 2], [7, 6, 5]]
    assert shown(admin_client.get(JOBS + link(last, "Newest"))) == [7, 6, 5]


def test_filters_begin_at_the_newest_again(admin_client, small_pages):
    many(8)
    page = admin_client.get(JOBS + link(admin_client.get(JOBS), "Older"))

    assert "before=" not in link(page, "Failed")
    assert 'name="before"' not in page.content.decode()


def test_a_page_is_the_same_whatever_comes_after(admin_client, small_pages):
    many(5)
    older = link(admin_client.get(JOBS), "Older")
    before = shown(admin_client.get(JOBS + older))

    many(4)

    assert shown(admin_client.get(JOBS + older)) == before == [1, 0]


@pytest.mark.parametrize("place", ["before=nonsense", "after=1", "before=&after=", "p=7", "all="])
def test_a_place_that_is_none_is_the_top(admin_client, small_pages, place):
    many(4)

    assert shown(admin_client.get(f"{JOBS}?{place}")) == [3, 2, 1]


@pytest.fixture
def large(monkeypatch):
    """Take more than two jobs for very many."""
    monkeypatch.setattr(job_list, "CAP", 2)
    monkeypatch.setattr("django_jobs.admin.counts.CAP", 2)
    monkeypatch.setattr(paging, "WINDOW", 3)


def test_where_no_index_helps_a_page_looks_through_so_many_jobs_and_goes_on_from_there(
    admin_client, small_pages, large
):
    many(2, queue_name="mail")
    many(9)

    page = admin_client.get(JOBS, {"queue": "mail"})
    assert shown(page) == []
    assert "older ones may be" in text(page)
    assert "A page looks through" in text(page)
    assert "Retry all failed jobs like these<" in page.content.decode()

    pages = walk(admin_client, "?queue=mail", "Older")
    assert [number for page in pages for number in page] == [1, 0]
    last = f"?queue=mail&before={Job.objects.order_by('pk')[1].pk}"
    assert [number for page in walk(admin_client, last, "Newer") for number in page] == [0, 1]


@pytest.mark.parametrize("state", ["failed", "queued"])
def test_a_state_whose_jobs_are_all_old_is_shown_at_once(admin_client, small_pages, large, state):
    many(5, state), many(9, "succeeded"), many(9, "running")

    pages = walk(admin_client, f"?state={state}", "Older")
    assert [number for page in pages for number in page] == [4, 3, 2, 1, 0]
    assert pages[0] == [4, 3, 2]

    first = admin_client.get(JOBS, {"state": state})
    assert walk(admin_client, link(first, "Newer"), "Newer")[0] == []  # there might have been some


# What a page costs


def queries_of(client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as queries:
        client.get(address)
    return [one["sql"] for one in queries]


@pytest.mark.parametrize(
    "params",
    [
        "",
        "?state=failed",
        "?state=succeeded",
        "?tries=more",
        "?q=error:gateway",
        "?task=" + TASK,
        "?error=f2",
        "?q=charge",
    ],
)
@pytest.mark.parametrize("is_large", [False, True])
def test_a_list_takes_at_most_eight_queries_that_are_bounded(admin_client, monkeypatch, params, is_large):
    if is_large:
        monkeypatch.setattr(job_list, "CAP", 10)
        monkeypatch.setattr("django_jobs.admin.counts.CAP", 10)
    Queue.objects.create(name="default")
    many(60), many(60, "succeeded")
    failed()

    admin_client.get(JOBS + params)  # what is loaded once

    queries = queries_of(admin_client, JOBS + params)

    assert len(queries) <= 8, queries
    for one in queries:
        assert not re.search(r"COUNT\(\*\)(?!.*LIMIT)|DISTINCT|GROUP BY", one), one


# Empty lists


@pytest.mark.parametrize(
    "params", ["", *(f"?state={state}" for state in states.STATES), "?tries=more", "?q=x", "?error=f9"]
)
def test_an_empty_list_says_what_that_means(admin_client, params):
    page = text(admin_client.get(JOBS + params))

    assert re.search(r"No job|as soon as they are enqueued", page)
    if params == "?state=failed":
        assert "all is well" in page
    if not params:
        assert "manage.py runworker" in page


# Retrying all


@pytest.mark.parametrize(
    ("params", "label"),
    [
        ("", None),
        ("?state=succeeded", None),
        ("?state=queued&q=charge", None),
        ("?state=failed", "Retry all 3 failed jobs"),
        ("?error=f2", "Retry all 2 failed jobs"),
        ("?q=error:gateway", "Retry all 2 failed jobs"),
        ("?q=charge", "Retry all 3 failed jobs"),
        ("?queue=mail", "Retry 1 failed job"),
        ("?state=failed&q=error:other", "Retry 1 failed job"),
        ("?q=nothing", None),
    ],
)
def test_the_button_names_how_many_failed_jobs_the_list_has(admin_client, params, label):
    failed(1), failed(2, queue_name="mail"), failed(3, error="other", fingerprint="f3"), job("succeeded"), job()

    page = admin_client.get(JOBS + params)

    assert (label is None) == (retry_action(page) is None)
    assert label is None or f"{label}<" in page.content.decode()


@pytest.mark.parametrize("params", ["?state=failed&q=error:gateway", "?error=f2", "?queue=mail", "?q=queue:mail"])
def test_exactly_the_failed_jobs_of_the_list_are_retried(admin_client, params):
    wanted = [failed(number, queue_name="mail") for number in (1, 2)]
    others = [failed(3, error="other", fingerprint="f3"), job("succeeded", queue_name="mail"), job("cancelled")]
    page = admin_client.get(JOBS + params)

    response = admin_client.post(retry_action(page), follow=True)

    assert "2 jobs were queued again." in text(response)
    assert response.redirect_chain[0][0] == JOBS + "?" + response.request["QUERY_STRING"]
    assert [Job.objects.get(pk=one.pk).state for one in wanted + others] == [
        *("queued", "queued", "failed", "succeeded", "cancelled")
    ]
    assert sorted(LogEntry.objects.values_list("object_id", "change_message")) == sorted(
        (str(one.pk), "Retried.") for one in wanted
    )


def test_who_may_only_look_sees_no_button_and_retries_nothing(as_user):  # noqa: F811
    client = as_user("view_job")
    one = failed()

    assert retry_action(client.get(JOBS + "?state=failed")) is None
    assert client.post(f"{JOBS}retry-all/?state=failed").status_code == 403
    assert client.get(f"{JOBS}retry-all/?state=failed").status_code == 405
    one.refresh()
    assert one.state == "failed"


def test_a_search_that_is_none_retries_nothing(admin_client):
    one = failed()

    page = admin_client.post(f"{JOBS}retry-all/?q=foo:bar", follow=True)

    one.refresh()
    assert (one.state, LogEntry.objects.count()) == ("failed", 0)
    assert "is not known here" in text(page)


def test_a_list_narrowed_in_another_way_retries_nothing(admin_client):
    wanted, other = failed(1, priority=5), failed(2)

    page = admin_client.get(JOBS + "?state=failed&priority=5")
    response = admin_client.post(f"{JOBS}retry-all/?state=failed&priority=5", follow=True)

    assert shown(page) == [1]
    assert retry_action(page) is None
    assert "Not all filters of this list" in text(response)
    assert {Job.objects.get(pk=one.pk).state for one in (wanted, other)} == {"failed"}


@pytest.fixture
def two_at_once(monkeypatch):
    monkeypatch.setattr(retry_all, "AT_ONCE", 2)
    monkeypatch.setattr(bulk, "CHUNK", 2)


def test_many_are_retried_by_a_job_of_its_own_that_the_page_links_to(admin_client, two_at_once):
    wanted, other = [failed(number) for number in range(5)], failed(9, error="other")
    page = admin_client.get(JOBS + "?q=error:gateway")

    response = admin_client.post(retry_action(page), follow=True)

    (ours,) = Job.objects.filter(task_path=bulk.RETRY_FAILED.module_path)
    assert f'href="{JOBS}{ours.pk}/change/"' in response.content.decode()
    assert (ours.created_by, ours.state, ours.queue_name) == ("admin", "queued", "default")
    assert LogEntry.objects.get().object_id == str(ours.pk)
    assert Job.objects.filter(state="failed").count() == 6

    Attempt.objects.filter(job=other.pk).update(message="gateway timed out")  # it is none of those that were meant
    failed(10)
    with pytest.raises(AssertionError, match="1 runs"):  # it has queued others
        testing.run_jobs(limit=1)

    ours.refresh()
    assert (ours.state, ours.return_value) == ("succeeded", 6)
    assert ours.progress == {"done": 6, "total": 6, "text": ""}
    assert not Job.objects.filter(pk__in=[one.pk for one in wanted], state="failed").exists()
    assert Job.objects.filter(state="failed").count() == 1  # what failed after the button was pressed
    assert "retry_failed(" in text(admin_client.get(f"{JOBS}{ours.pk}/change/"))


def test_the_errors_of_the_overview_are_retried_so_too(admin_client, two_at_once):
    for number in range(3):
        failed(number)

    page = admin_client.post("/admin/django_jobs/overview/retry/f2/", follow=True)

    (ours,) = Job.objects.filter(task_path=bulk.RETRY_FAILED.module_path)
    assert "3 jobs are retried in the background. See how far it has come" in text(page)
    assert LogEntry.objects.get().change_message == "Enqueued, to retry 3 failed jobs."
    assert ours.kwargs["fingerprints"] == ["f2"]


@pytest.mark.parametrize(
    ("queues", "queue"), [([], "default"), (["mail", "default"], "default"), (["mail", "slow"], "mail")]
)
def test_it_takes_a_queue_that_exists(settings, queues, queue):
    settings.DJANGO_JOBS = {"CACHE": None, "QUEUES": queues}

    assert bulk.retry_later(Selection(), by="ada").queue_name == queue


def test_it_is_known_everywhere_and_offered_nowhere():
    path = bulk.RETRY_FAILED.module_path

    assert registry.get(path) is bulk.RETRY_FAILED
    assert path not in registry.all_tasks()


def test_it_stops_when_it_is_cancelled(two_at_once, monkeypatch):
    many(6)
    asked = iter([False, True])
    context = TaskContext(bulk.retry_later(Selection(), by="ada"), is_cancelled=lambda: next(asked))

    with pytest.raises(JobCancelled):
        bulk.retry_failed(context, until=db_now() + timedelta(hours=1))

    assert Job.objects.filter(state="failed").count() == 4


def test_a_selection_comes_back_from_what_is_stored_of_it():
    one = job()
    said = parsed(f"charge queue:mail state:failed error:timed #{one.pk}") & Selection(
        fingerprints=("f1",), tried_again=True, ended_by=db_now()
    )

    made = bulk.retry_later(said, by="ada")
    made.refresh()
    again = Selection.of(
        **{name: value for name, value in made.kwargs.items() if name not in ("until", "last_attempt")}
    )

    assert again == said


def test_jobs_are_walked_through_once_whatever_becomes_of_them():
    made = many(5)

    found = []
    for ids in after_each_other(Job.objects.filter(state="failed"), 2):
        found += ids
        Job.objects.filter(pk__in=ids[:1]).delete()

    assert found == [one.pk for one in made]
