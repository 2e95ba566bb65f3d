"""The editor of schedules, their list and the next 24 hours."""

from __future__ import annotations

import html
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.timezone import localtime

from django_jobs import states
from django_jobs.models import Job, Schedule, ScheduleRun, db_now
from django_jobs.scheduler.day import day_ahead
from django_jobs.scheduler.preview import following
from tests.app import admin_tasks, form_tasks
from tests.served import served_at
from tests.test_admin import SCHEDULES, as_user, errors, text, without_redis  # noqa: F401  fixtures
from tests.test_schedules import saved

pytestmark = pytest.mark.django_db
TASK = admin_tasks.charge_card.module_path
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


def form(**values) -> dict:
    """Return what a browser posts, with the fields of the arguments filled in."""
    return {
        "name": "evening",
        "enabled": "on",
        "task_path": TASK,
        "arguments_as": "fields",
        "args": "",
        "kwargs": "",
        "arg-order_id": "1042",
        "arg-amount": "",
        "arg-pin": "",
        "arg-password": "",
        "when": "daily",
        "every_0": "",
        "every_1": "minutes",
        "at": "19:00",
        "monthdays": "",
        "cron": "",
        "once_at_0": "",
        "once_at_1": "",
        "timezone": "",
        "overlap": "skip",
        "after_downtime": "once",
        "catch_up": "10",
        "starts_at_0": "",
        "starts_at_1": "",
        "ends_at_0": "",
        "ends_at_1": "",
        "max_runs": "",
        "jitter_0": "",
        "jitter_1": "minutes",
        "queue_name": "",
        "priority": "",
    } | values


@pytest.fixture
def add(admin_client):
    """A function that posts the form, and returns the schedule or what the form says."""

    def post(**values) -> Schedule | str:
        response = admin_client.post(f"{SCHEDULES}add/", form(**values))
        return errors(response) if response.status_code == 200 else Schedule.objects.get(name=form(**values)["name"])

    return post


@pytest.fixture
def preview(admin_client):
    """A function that posts the form as the script does, and returns the text of the preview."""

    def post(address: str = f"{SCHEDULES}add/", **values) -> str:
        response = admin_client.post(
            address, form(**values) | {"_preview": "1"}, headers={"X-Requested-With": "django_jobs"}
        )
        assert response.status_code == 200
        shown = response.content.decode().partition('id="dj-preview"')[2]
        return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", shown)))

    return post


# When


@pytest.mark.parametrize(
    ("values", "cron", "every"),
    [
        ({}, "0 19 * * *", None),
        ({"when": "weekly", "weekdays": ["1", "0"]}, "0 19 * * 0,1", None),
        ({"when": "monthly", "monthdays": "15, 1"}, "0 19 1,15 * *", None),
        ({"when": "cron", "cron": "@hourly"}, "@hourly", None),
        ({"when": "every", "every_0": "90"}, "", timedelta(minutes=90)),
        ({"when": "every", "every_0": "90", "cron": "nonsense", "at": "nine", "monthdays": "40"}, "", 1.5 * HOUR),
    ],
)
def test_what_is_chosen_says_when_and_the_other_fields_do_not_count(add, values, cron, every):
    one = add(**values)

    assert (one.cron, one.every, one.once_at) == (cron, every, None)


def test_a_single_moment(add):
    one = add(when="once", once_at_0="2040-03-01", once_at_1="12:00")

    assert one.once_at == datetime(2040, 3, 1, 11, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"at": ""}, "Choose the time"),
        ({"at": "25:00"}, "valid time"),
        ({"when": "weekly"}, "at least one day of the week"),
        ({"when": "weekly", "weekdays": ["9"]}, "valid choice"),
        ({"when": "monthly"}, "at least one day of the month"),
        ({"when": "monthly", "monthdays": "0, 40"}, "from 1 to 31"),
        ({"when": "cron"}, "Write a cron expression"),
        ({"when": "every"}, "Say how often"),
        ({"when": "once"}, "Choose the day"),
        ({"when": "sometimes"}, "valid choice"),
        ({"after_downtime": "all"}, "still be going"),
        ({"max_runs": "0"}, "at least one run"),
        ({"jitter_0": "5", "jitter_1": "days"}, "one day"),
        ({"catch_up": "1000", "after_downtime": "all", "overlap": "run"}, "from 1 to 100"),
        ({"arg-order_id": ""}, "required"),
        ({"arg-order_id": "many"}, "whole number"),
        ({"arguments_as": "json", "args": "{}"}, 'must be a JSON list, such as [1, "two"]; it is an object'),
        ({"arguments_as": "json", "args": "[1]", "kwargs": "7"}, 'JSON object, such as {"amount": 49.9}; it is a num'),
        ({"arguments_as": "json", "args": "[1"}, "not JSON, from character 3 on. Write it like"),
    ],
)
def test_the_preview_refuses_what_the_form_refuses_with_the_same_words(add, preview, values, words):
    refused = add(**values)

    assert isinstance(refused, str)
    assert words in refused
    if "required" not in words:
        assert words in preview(**values)
    assert not Schedule.objects.exists()


def test_a_rule_is_shown_by_the_plainest_fields_and_kept_as_it_was_written(admin_client):
    one = saved(cron="0 7 * * mon-fri")
    address = f"{SCHEDULES}{one.pk}/change/"

    page = admin_client.get(address).content.decode()
    assert '<option value="weekly" selected>' in page
    assert 'value="07:00"' in page
    posted = form(when="weekly", at="07:00", weekdays=["1", "2", "3", "4", "5"], **{"arg-order_id": "1"})
    assert admin_client.post(address, posted).status_code == 302

    one.refresh_from_db()
    assert (one.cron, one.args) == ("0 7 * * mon-fri", [1])


# The preview


def test_the_preview_says_when_in_words_with_the_next_five_runs_and_saves_nothing(preview):
    shown = preview(timezone="Asia/Tokyo")

    assert "At 19:00 (Asia/Tokyo)" in shown
    assert shown.count("19:00 JST") == 5
    assert not Schedule.objects.exists()


def test_the_preview_shows_the_runs_before_name_and_task_are_chosen(preview):
    shown = preview(name="", task_path="")

    assert "Still to fill in: Name, Task." in shown
    assert shown.count("19:00 CE") == 5


def test_the_preview_tells_what_the_clock_does(preview):
    shown = preview(at="02:30")

    assert "the clock skips 02:30. It runs right after, at 03:00." in shown
    assert "02:30 comes twice. It runs the first time only." in shown


def test_the_preview_tells_that_cron_wants_either_day(preview):
    assert "runs on either of them" in preview(when="cron", cron="0 0 13 * fri")


def test_the_preview_names_what_else_runs_at_that_time(preview):
    for name in "abc":
        saved(name=name, cron="0 19 * * *")
    saved(name="other", cron="1 19 * * *")
    saved(name="off", cron="0 19 * * *", enabled=False)

    assert "also at this time: 3 other schedules (a, b, c)" in preview()


def test_the_preview_of_an_edit_is_what_saving_makes_of_it(admin_client, preview):
    one = saved(every=HOUR, args=[1])
    address = f"{SCHEDULES}{one.pk}/change/"
    edited = {"when": "every", "every_0": "2", "every_1": "hours", "arg-order_id": "1"}

    shown = preview(address, **edited)
    assert admin_client.post(address, form(**edited)).status_code == 302

    one.refresh_from_db()
    assert one.every == 2 * HOUR
    assert f"{one.next_due_at.astimezone(one.zone):%H:%M:%S}".removesuffix(":00") in shown


def test_the_preview_of_one_that_is_switched_off_says_so(preview):
    shown = preview(enabled="")

    assert "switched off: none of these" in shown
    assert shown.count("19:00 CE") == 5
    assert "switched off" not in preview()


def test_without_javascript_a_button_previews(admin_client):
    page = admin_client.get(f"{SCHEDULES}add/").content.decode()
    assert 'name="_preview"' in page

    response = admin_client.post(f"{SCHEDULES}add/", form() | {"_preview": "1"})

    shown = text(response)
    assert "At 19:00" in shown
    assert 'value="1042"' in response.content.decode()
    assert not Schedule.objects.exists()


def test_who_may_only_look_gets_no_preview(as_user):  # noqa: F811
    one = saved(cron="0 19 * * *")
    client = as_user("view_schedule")

    page = client.get(f"{SCHEDULES}{one.pk}/change/").content.decode()

    assert 'name="_preview"' not in page
    assert "At 19:00" in page
    assert client.post(f"{SCHEDULES}{one.pk}/change/", form() | {"_preview": "1"}).status_code == 403


# Arguments


def test_arguments_are_fields_from_the_signature(admin_client):
    saved_one = saved(args=[], kwargs={"order_id": 1, "amount": 49.9})

    page = admin_client.get(f"{SCHEDULES}{saved_one.pk}/change/").content.decode()

    assert re.search(r'<input type="number" name="arg-order_id" value="1"', page)
    assert re.search(r'name="arg-amount" value="49.9"', page)
    assert "Empty: 1.0." in page


def test_empty_fields_are_left_to_the_function(add):
    assert add().kwargs == {"order_id": 1042}


def test_typed_arguments_come_and_go_with_their_types(add, admin_client):
    key = UUID(int=7)
    values = {
        "number": "7", "amount": "1.50", "day": "2026-03-01", "moment": "2026-03-01T12:00:00", "length": "1:30:00",
        "key": str(key), "colour": "red", "size": "LARGE", "tags": '["a", "b"]', "sure": "", "note": "",
    }  # fmt: skip
    path = form_tasks.many_kinds.module_path
    posted = {f"arg-{name}": value for name, value in values.items()}

    one = add(task_path=path, **posted)

    expected = {
        "number": 7, "amount": Decimal("1.50"), "day": date(2026, 3, 1),
        "moment": datetime(2026, 3, 1, 11, tzinfo=UTC), "length": 1.5 * HOUR, "key": key, "colour": "red",
        "size": "l", "tags": ["a", "b"],
    }  # fmt: skip
    assert one.kwargs == expected
    page = admin_client.get(f"{SCHEDULES}{one.pk}/change/").content.decode()
    assert re.search(r'value="fields"[^>]*checked', page)
    assert re.search(r'name="arg-moment" value="2026-03-01T12:00:00"', page)
    assert '<option value="LARGE" selected>' in page


def test_positional_and_further_arguments(add):
    path = form_tasks.positional.module_path

    one = add(
        task_path=path,
        **{"arg-first": "1", "arg-second": '"two"', "arg-rest": "[3, 4]", "arg-options": '{"five": 5}'},
    )

    assert (one.args, one.kwargs) == ([1, "two", 3, 4], {"five": 5})


def test_a_page_never_calls_a_task(admin_client, preview):
    path = form_tasks.nothing.module_path
    one = saved(task_path=path, args=[])

    page = text(admin_client.get(f"{SCHEDULES}{one.pk}/change/"))

    assert "This task takes no arguments" in page
    assert "At 19:00" in preview(task_path=path)


def test_a_secret_in_a_field_is_hidden_and_stays(admin_client):
    one = saved(args=[], kwargs={"order_id": 1, "pin": "s3cret"})
    address = f"{SCHEDULES}{one.pk}/change/"

    page = admin_client.get(address).content.decode()
    assert "s3cret" not in page
    assert re.search(r'name="arg-pin" value="hidden"', page)
    admin_client.post(address, form(**{"arg-order_id": "2", "arg-pin": "hidden"}))

    one.refresh_from_db()
    assert one.kwargs == {"order_id": 2, "pin": "s3cret"}


def test_a_positional_secret_stays_too(admin_client, monkeypatch):
    one = saved(args=[1, 2.5], kwargs={"pin": "s3cret"})

    admin_client.post(
        f"{SCHEDULES}{one.pk}/change/", form(**{"arg-order_id": "1", "arg-amount": "2.5", "arg-pin": "hidden"})
    )

    one.refresh_from_db()
    assert (one.args, one.kwargs) == ([1, 2.5], {"pin": "s3cret"})  # as they were written


def test_arguments_that_do_not_fit_the_fields_are_shown_as_json(admin_client):
    one = saved(args=["not a number"])

    page = admin_client.get(f"{SCHEDULES}{one.pk}/change/").content.decode()

    assert re.search(r'value="json"[^>]*checked', page)


def test_a_task_that_one_may_not_run_shows_no_arguments(as_user):  # noqa: F811
    client = as_user("add_schedule", "change_schedule", "view_schedule")
    private = admin_tasks.for_superusers_only.module_path

    response = client.post(
        f"{SCHEDULES}add/", form(task_path=private) | {"_preview": "1"}, headers={"X-Requested-With": "django_jobs"}
    )

    assert 'data-task=""' in response.content.decode()


# The list


def run_of(one: Schedule, state: str, *, ago: timedelta, seconds: float = 3) -> Job:
    started = db_now() - ago
    finished = started + timedelta(seconds=seconds) if state in states.FINAL else None
    job = Job.objects.create(
        task_path=TASK, args=[1], state=state, started_at=started, finished_at=finished, schedule=one
    )
    ScheduleRun.objects.create(schedule=one, due_at=started, job=job.pk)
    return job


def test_the_last_ten_runs_are_squares_that_lead_to_their_jobs(admin_client):
    one = saved()
    jobs = [run_of(one, "failed" if n == 3 else "succeeded", ago=n * HOUR, seconds=n) for n in range(1, 13)]
    ScheduleRun.objects.create(schedule=one, due_at=db_now(), kind="skipped")
    jobs[1].delete()

    page = admin_client.get(SCHEDULES).content.decode()

    assert len(re.findall(r'class="dj-run dj-run-\w+"', page)) == 10
    assert f"/job/{jobs[0].pk}/change/" in page
    assert f"/job/{jobs[9].pk}/change/" not in page
    for state, sign in (("failed", "✗"), ("succeeded", "✓"), ("skipped", "»"), ("pruned", "·")):
        assert re.search(rf'dj-run-{state}"[^>]*>{sign}<', page)
    assert "typically 6.0 s" in text(admin_client.get(SCHEDULES))  # the median of 1, 4, 5, 6, 7, 8, 9


def test_who_may_not_see_jobs_is_not_led_to_them(as_user):  # noqa: F811
    job = run_of(saved(), "succeeded", ago=HOUR)

    page = as_user("view_schedule").get(SCHEDULES).content.decode()

    assert "dj-run-succeeded" in page
    assert str(job.pk) not in page


def test_a_list_of_any_length_takes_few_queries(admin_client):
    def queries(count: int) -> int:
        for number in range(count):
            run_of(saved(name=f"s{count}-{number}"), "succeeded", ago=HOUR)
        with CaptureQueriesContext(connection) as captured:
            admin_client.get(SCHEDULES)
        return len([one for one in captured if "SAVEPOINT" not in one["sql"]])

    few, many = queries(2), queries(40)

    assert few == many
    assert many <= 9  # two of them for the session and the user


def test_the_switch_switches_and_returns_to_the_list_as_it_was(admin_client):
    one = saved()
    page = admin_client.get(SCHEDULES, {"q": "tonight"}).content.decode()
    address = html.unescape(re.search(r'role="switch"[^>]*formaction="([^"]+)"', page)[1])

    response = admin_client.post(address)

    assert response.url == f"{SCHEDULES}?q=tonight"
    one.refresh_from_db()
    assert (one.enabled, one.next_due_at) == (False, None)
    assert LogEntry.objects.get().change_message == "Switched off."
    admin_client.post(address)
    one.refresh_from_db()
    assert one.enabled


def test_run_now_from_the_list_says_who_started_it(admin_client):
    one = saved()
    address = f"{SCHEDULES}{one.pk}/run/?back="

    page = admin_client.post(address, follow=True)

    job = Job.objects.get()
    assert f"/job/{job.pk}/change/" in page.content.decode()
    assert job.created_by == "admin"
    assert ScheduleRun.objects.get().kind == "by_hand"
    assert admin_client.get(address).status_code == 405


def test_a_schedule_is_duplicated_with_its_secrets(admin_client):
    one = saved(cron="0 7 * * *", args=[], kwargs={"order_id": 1, "pin": "s3cret"}, overlap="queue", jitter=HOUR)
    address = f"{SCHEDULES}add/?copy={one.pk}"

    page = admin_client.get(address).content.decode()
    assert "tonight (copy)" in page
    assert "s3cret" not in page
    assert '<option value="queue" selected>' in page
    assert '<option value="daily" selected>' in page
    admin_client.post(address, form(name="tonight (copy)", **{"arg-order_id": "1", "arg-pin": "hidden"}))

    copy = Schedule.objects.get(name="tonight (copy)")
    assert copy.kwargs == {"order_id": 1, "pin": "s3cret"}


@pytest.mark.parametrize("copy", ["", "x", "99999", "9" * 40])
def test_a_duplicate_of_nothing_is_an_empty_form(admin_client, copy):
    assert admin_client.get(f"{SCHEDULES}add/?copy={copy}").status_code == 200


def test_another_ones_private_task_is_not_duplicated(as_user):  # noqa: F811
    one = saved(task_path=admin_tasks.for_superusers_only.module_path, args=[])

    page = as_user("add_schedule", "change_schedule").get(f"{SCHEDULES}add/?copy={one.pk}").content.decode()

    assert "tonight" not in page


# From the code


def declared(**values) -> Schedule:
    one = saved(key="shop.tasks.evening", cron="0 7 * * *", **values)
    one.declared = {"cron": "0 7 * * *", "overlap": "run"}
    one.save()
    return one


def test_a_schedule_from_the_code_carries_a_badge(admin_client):
    declared()

    assert "from the code" in text(admin_client.get(SCHEDULES))
    assert "changed here" not in text(admin_client.get(SCHEDULES))


def test_an_override_says_so_and_goes_back(admin_client):
    one = declared(overlap="queue")
    address = f"{SCHEDULES}{one.pk}/change/"

    assert "changed here" in text(admin_client.get(SCHEDULES))
    assert "Not as the code says: If the last run is still going." in text(admin_client.get(address))
    page = admin_client.post(f"{SCHEDULES}{one.pk}/restore/", follow=True)

    assert "It is as the code says." in text(page)
    one.refresh_from_db()
    assert (one.overlap, one.overrides) == ("run", [])
    assert "Back to what the code says" in LogEntry.objects.get().change_message


def test_one_removed_from_the_code_says_so(admin_client):
    one = declared()
    Schedule.objects.filter(pk=one.pk).update(declared=None, enabled=False, note="It was removed from the code.")

    page = text(admin_client.get(SCHEDULES))

    assert "removed from the code" in page
    assert "It was removed from the code." in page


# Who changed what


def test_the_history_says_who_changed_what_from_what_to_what(admin_client):
    one = saved(cron="0 7 * * *", args=[], kwargs={"order_id": 1, "pin": "s3cret"})
    address = f"{SCHEDULES}{one.pk}/change/"

    admin_client.post(address, form(overlap="queue", max_runs="3", **{"arg-order_id": "2", "arg-pin": "hidden"}))

    said = LogEntry.objects.get().get_change_message()
    assert "When: At 07:00 (0 7 * * *) → At 19:00 (0 19 * * *)." in said
    assert "Arguments changed." in said
    assert "If the last run is still going: run → queue." in said
    assert "Number of runs: – → 3." in said
    assert "s3cret" not in said
    assert "admin" in text(admin_client.get(f"{SCHEDULES}{one.pk}/history/"))


# The next 24 hours


@pytest.mark.parametrize("clock", ["18:00", "18:59", "19:01", "19:59"])
def test_the_next_day_is_shown_by_hours_with_its_load(admin_client, clock):
    evening = saved(name="evening", cron="0 19 * * *")
    run_of(evening, "succeeded", ago=HOUR, seconds=90)
    saved(name="often", every=timedelta(minutes=10))
    saved(name="off", cron="0 19 * * *", enabled=False)
    hour, minute = map(int, clock.split(":"))
    now = localtime(db_now() + DAY).replace(hour=hour, minute=minute, second=0, microsecond=0)
    Schedule.objects.filter(name="evening").update(next_due_at=evening.moment_after(now))
    Schedule.objects.filter(name="often").update(next_due_at=now + timedelta(minutes=3))

    with served_at(now):
        page = admin_client.get(f"{SCHEDULES}day/")

    shown = text(page)
    assert "19:00 evening" in shown
    assert "often ×6" in shown
    assert "off" not in re.sub(r"log out|View site", "", shown.partition("next 24 hours.")[2]).split()
    assert "90.0 s" in shown
    assert page.content.decode().count("<rect") == (24 if minute == 0 else 25)


def test_the_next_day_is_for_those_who_may_look(as_user):  # noqa: F811
    assert as_user("view_schedule").get(f"{SCHEDULES}day/").status_code == 200
    assert as_user("view_job").get(f"{SCHEDULES}day/").status_code == 403


def test_the_next_day_counts_what_runs_every_second(admin_client):
    saved(name="often", every=timedelta(seconds=1))
    saved(name="broken", cron="0 19 * * *")
    Schedule.objects.filter(name="broken").update(cron="nonsense")

    assert "often ×3600" in text(admin_client.get(f"{SCHEDULES}day/"))


@pytest.mark.parametrize("zone", ["", "Asia/Kathmandu"])  # whole hours from UTC, and not
def test_the_next_day_counts_what_runs_in_every_hour(zone):
    one = saved(cron="*/20 * * * *", timezone=zone)
    now = one.next_due_at - timedelta(minutes=7)

    day = day_ahead(now)

    expected = [moment for moment in following(one, one.next_due_at, now, 100) if moment < now + DAY]
    assert [hour.count for hour in day.hours[1:24]] == [3] * 23
    assert sum(hour.count for hour in day.hours) == len(expected)


def test_no_page_of_schedules_has_inline_scripts_or_styles(admin_client):
    one = saved()
    run_of(one, "succeeded", ago=HOUR)

    for page in (SCHEDULES, f"{SCHEDULES}{one.pk}/change/", f"{SCHEDULES}day/"):
        source = admin_client.get(page).content.decode()
        assert not re.search(r"<style|\sstyle=|\son\w+=", source)
        assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", source) if "application/json" not in tag)


def test_an_argument_without_a_type_hint_is_shown_as_it_is_stored(admin_client):
    one = saved(task_path=form_tasks.positional.module_path, args=[1, "two"])

    page = admin_client.get(f"/admin/django_jobs/schedule/{one.pk}/change/").content.decode()

    assert 'name="arg-second" value="&quot;two&quot;"' in page
