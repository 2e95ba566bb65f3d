"""Schedules: what is due when, what edits may not do, and one job for each due moment."""

from __future__ import annotations

import sys
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
from django.core.exceptions import ValidationError
from django.db import connection, connections, transaction
from django.test.utils import CaptureQueriesContext

from django_jobs import enqueue, states
from django_jobs.management.health import explanation
from django_jobs.models import EncodedText, Job, Schedule, ScheduleRun, db_now
from django_jobs.scheduler import firing, produce
from django_jobs.scheduler.fire import fire
from django_jobs.scheduler.follow import follow
from django_jobs.scheduler.produce import run_now
from django_jobs.scheduler.words import sentence
from tests.app import admin_tasks

fire_module = sys.modules["django_jobs.scheduler.fire"]  # the package has the function under that name
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TASK = "tests.app.admin_tasks.charge_card"


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def schedule(**values) -> Schedule:
    if not values.keys() & {"cron", "every", "once_at"}:
        values["every"] = HOUR
    return Schedule(**{"name": "tonight", "task_path": TASK, "args": [1]} | values)


def saved(**values) -> Schedule:
    one = schedule(**values)
    one.full_clean()
    one.save()
    return one


def due(one: Schedule, *, ago: timedelta = timedelta(0), **values) -> Schedule:
    """Make a saved schedule due, as it becomes by the passing of time."""
    moment = db_now() - ago
    Schedule.objects.filter(pk=one.pk).update(next_due_at=moment, **values)
    one.refresh_from_db()
    while db_now() <= moment:  # SQLite's clock has milliseconds: what is due in this one is not due yet
        pass
    return one


# What is due when


def test_cron_is_read_in_the_zone_of_the_schedule():
    one = schedule(cron="0 7 * * *", timezone="Europe/Riga")

    assert one.moment_after(at("2026-06-01 00:00")) == at("2026-06-01 04:00")


def test_without_a_zone_cron_is_read_in_time_zone():
    assert schedule(cron="0 7 * * *").moment_after(at("2026-06-01 00:00")) == at("2026-06-01 05:00")


def test_intervals_count_from_the_start():
    one = schedule(every=timedelta(minutes=7), starts_at=at("2026-01-01 00:00"))

    assert one.moment_after(at("2025-06-01 00:00")) == at("2026-01-01 00:00")
    assert one.moment_after(at("2026-01-01 00:00")) == at("2026-01-01 00:07")


def test_intervals_without_a_start_count_from_the_creation():
    one = schedule(every=timedelta(minutes=7), created_at=at("2026-01-01 00:01"))

    assert one.moment_after(at("2026-01-01 01:00")) == at("2026-01-01 01:04")


def test_nothing_is_due_before_the_start_or_after_the_end():
    one = schedule(cron="0 * * * *", starts_at=at("2026-01-01 00:00"), ends_at=at("2026-01-01 02:00"))

    assert one.moment_after(at("2020-01-01 00:00")) == at("2026-01-01 00:00")
    assert one.moment_after(at("2026-01-01 01:00")) == at("2026-01-01 02:00")
    assert one.moment_after(at("2026-01-01 02:00")) is None


def test_a_single_moment_is_due_once():
    one = schedule(once_at=at("2026-01-01 00:00"))

    assert one.moment_after(at("2025-01-01 00:00")) == at("2026-01-01 00:00")
    assert one.moment_after(at("2026-01-01 00:00")) is None


@pytest.mark.parametrize("rule", [{"every": timedelta(seconds=1)}, {"cron": "*/5 * * * *"}, {"cron": "0 3 * * *"}])
def test_the_latest_moment_is_found_after_any_pause(rule):
    one = schedule(**rule, starts_at=at("2026-01-01 00:00"))
    first, now = one.moment_after(at("2026-01-01 00:00")), at("2026-03-05 17:31:12.5")

    latest = one.latest_moment(first, now)

    assert latest <= now < one.moment_after(latest)


# Validation


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("cron", {"cron": "", "every": None}),
        ("every", {"cron": "0 3 * * *", "every": HOUR}),
        ("once_at", {"every": HOUR, "once_at": at("2030-01-01 00:00")}),
        ("cron", {"cron": "0 3 31 2 *"}),
        ("cron", {"cron": "0 3 * *"}),
        ("cron", {"cron": "0 3 * * \0"}),
        ("cron", {"cron": "x" * 101}),
        ("every", {"every": timedelta(milliseconds=999)}),
        ("every", {"every": timedelta(0)}),
        ("every", {"every": -HOUR}),
        ("every", {"every": timedelta.max}),
        ("timezone", {"timezone": "Europe/Belrin"}),
        ("timezone", {"timezone": "Europe"}),
        ("timezone", {"timezone": "../../etc/passwd"}),
        ("timezone", {"timezone": "UTC\0"}),
        ("timezone", {"timezone": "\ud800"}),
        ("name", {"name": ""}),
        ("name", {"name": "a\0"}),
        ("queue_name", {"queue_name": "a b"}),
        ("priority", {"priority": 101}),
        ("priority", {"priority": 10**9}),
        ("args", {"args": {"a": 1}}),
        ("args", {"args": [{1, 2}]}),
        ("args", {"args": "text"}),
        ("args", {"args": EncodedText("[1,")}),
        ("kwargs", {"kwargs": [1]}),
        ("kwargs", {"kwargs": {1: 2}}),
        ("kwargs", {"kwargs": {"a": "x" * 1024 * 1024}}),
        ("once_at", {"once_at": at("2020-01-01 00:00")}),
        ("once_at", {"once_at": datetime.max.replace(tzinfo=UTC)}),
        ("starts_at", {"starts_at": datetime.min.replace(tzinfo=UTC)}),
        ("ends_at", {"ends_at": at("2020-01-01 00:00")}),
        ("ends_at", {"starts_at": at("2040-01-02 00:00"), "ends_at": at("2040-01-01 00:00")}),
    ],
)
def test_a_mistake_is_named_at_its_field(field, values):
    with pytest.raises(ValidationError) as refusal:
        schedule(**values).full_clean()

    assert field in refusal.value.message_dict


@pytest.mark.django_db
def test_a_zone_that_is_nearly_right_is_suggested():
    with pytest.raises(ValidationError, match="Did you mean"):
        schedule(timezone="Europe/Belrin").full_clean()


# Saving


@pytest.mark.django_db
def test_a_new_schedule_is_due_at_its_next_moment():
    one = saved(every=HOUR)

    assert one.next_due_at == one.created_at + HOUR


@pytest.mark.django_db
def test_a_new_schedule_never_fires_for_a_past_moment():
    one = saved(every=HOUR, starts_at=db_now() - DAY - timedelta(minutes=1))

    assert db_now() < one.next_due_at < db_now() + HOUR
    assert fire() == 0


@pytest.mark.django_db
def test_a_disabled_schedule_is_due_never_and_again_when_enabled():
    one = saved(every=HOUR)

    one.enabled = False
    one.save()
    assert one.next_due_at is None

    one.enabled, one.note = True, "it had an end"
    one.save()
    assert one.next_due_at > db_now()
    assert one.note == ""


@pytest.mark.django_db
def test_an_edit_does_not_swallow_a_run_that_is_due():
    one = due(saved(every=HOUR))
    was_due = one.next_due_at

    one.every = DAY
    one.save()

    assert one.next_due_at == was_due
    assert fire() == 1
    one.refresh_from_db()
    assert one.last_due_at == was_due
    assert one.next_due_at == one.created_at + DAY


@pytest.mark.django_db
def test_an_edit_of_the_rule_plans_anew_and_one_of_the_name_does_not():
    one = saved(every=HOUR)
    planned = one.next_due_at

    one.name = "another"
    one.save()
    assert one.next_due_at == planned

    one.every = 2 * HOUR
    one.save()
    assert one.next_due_at == one.created_at + 2 * HOUR


@pytest.mark.django_db
def test_saving_what_was_read_before_a_firing_does_not_take_it_back():
    read_before = due(saved(every=HOUR))
    fire()

    read_before.name = "another"
    read_before.save()

    read_before.refresh_from_db()
    assert read_before.last_due_at is not None
    assert read_before.next_due_at > db_now()
    assert fire() == 0


@pytest.mark.django_db
def test_nothing_is_planned_below_the_last_moment_fired():
    one = saved(every=HOUR)
    Schedule.objects.filter(pk=one.pk).update(last_due_at=db_now() + DAY)  # clocks were set back
    one.refresh_from_db()

    one.every = HOUR / 2
    one.save()

    assert one.next_due_at > one.last_due_at


@pytest.mark.django_db
def test_saving_some_columns_keeps_the_plan_whole():
    one = saved(every=HOUR)

    one.enabled = False
    one.save(update_fields=["enabled"])

    one.refresh_from_db()
    assert (one.enabled, one.next_due_at) == (False, None)


# Firing


@pytest.mark.django_db
def test_a_due_schedule_makes_one_job_and_goes_on():
    one = due(saved(kwargs={"amount": 49.9}, queue_name="reports", priority=7))
    was_due = one.next_due_at

    with transaction.atomic():
        assert fire() == 1

    job = Job.objects.get()
    assert (job.task_path, job.args, job.kwargs) == (TASK, [1], {"amount": 49.9})
    assert (job.queue_name, job.priority, job.schedule, job.state) == ("reports", 7, one, "queued")
    assert list(ScheduleRun.objects.values_list("schedule", "due_at", "job")) == [(one.pk, was_due, job.pk)]
    one.refresh_from_db()
    assert one.last_due_at == was_due
    assert one.last_run_at is not None
    assert one.next_due_at > db_now()
    assert fire() == 0


@pytest.fixture(autouse=True)
def any_queue(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


@pytest.mark.django_db
def test_after_downtime_the_latest_moment_is_run_once():
    one = saved(every=HOUR)
    Schedule.objects.filter(pk=one.pk).update(created_at=db_now() - 10.5 * HOUR)
    due(one, ago=9.5 * HOUR)

    assert fire() == 1

    one.refresh_from_db()
    assert db_now() - one.last_due_at < HOUR
    assert one.next_due_at == one.last_due_at + HOUR
    assert ScheduleRun.objects.count() == 1


@pytest.mark.django_db
def test_a_single_moment_disables_its_schedule():
    one = saved(once_at=db_now() + HOUR)
    due(one, once_at=db_now())

    assert fire() == 1

    one.refresh_from_db()
    assert (one.enabled, one.next_due_at) == (False, None)
    assert "only moment" in one.note


@pytest.mark.django_db
def test_a_schedule_whose_end_has_come_is_disabled_with_a_note():
    one = saved(every=HOUR)
    due(one, ends_at=db_now())

    assert fire() == 1

    one.refresh_from_db()
    assert not one.enabled
    assert "over" in one.note


@pytest.mark.django_db
def test_a_task_unknown_here_makes_its_job_all_the_same():
    due(saved(task_path="elsewhere.tasks.mystery"))

    assert fire() == 1

    job = Job.objects.get()
    assert (job.task_path, job.args, job.timeout, job.queue_name) == (
        "elsewhere.tasks.mystery",
        [1],
        3600,
        "default",
    )


@pytest.mark.django_db
def test_arguments_that_do_not_fit_here_make_a_job_all_the_same():
    due(saved(kwargs={"newly_added": 1}))

    assert fire() == 1
    assert Job.objects.get().kwargs == {"newly_added": 1}


@pytest.mark.django_db
def test_damaged_arguments_make_a_job_that_can_say_so():
    Schedule.objects.filter(pk=due(saved()).pk).update(args=EncodedText("[1,"))

    assert fire() == 1
    assert Job.objects.values_list("args", flat=True).get() == "[1,"


@pytest.mark.django_db
@pytest.mark.parametrize("broken", [{"cron": "nonsense", "every": None}, {"timezone": "Nowhere", "cron": "0 3 * * *"}])
def test_a_rule_that_became_invalid_disables_its_schedule_and_no_other(broken):
    bad, good = due(saved(name="bad"), **broken), due(saved(name="good"))

    assert fire() == 1

    bad.refresh_from_db()
    assert (bad.enabled, bad.next_due_at) == (False, None)
    assert "not valid" in bad.note
    assert Job.objects.get().schedule == good


@pytest.mark.django_db
def test_a_moment_that_has_made_its_job_makes_no_second():
    one, other = due(saved(name="one")), due(saved(name="other"))
    ScheduleRun.objects.create(schedule=one, due_at=one.next_due_at)

    assert fire() == 1

    assert Job.objects.get().schedule == other
    one.refresh_from_db()
    assert one.next_due_at > db_now()


class Refusing:
    """A middleware with a mistake in it."""

    def enqueue(self, job):
        if job.schedule.name == "bad":
            raise RuntimeError("no tenant")
        return transaction.atomic()


@pytest.mark.django_db
def test_a_schedule_that_cannot_make_its_job_does_not_keep_others_from_it(settings):
    settings.DJANGO_JOBS |= {"MIDDLEWARE": [f"{__name__}.Refusing"]}
    bad, good = due(saved(name="bad"), ago=HOUR / 2), due(saved(name="good"))

    assert fire() == 1

    assert Job.objects.get().schedule == good
    bad.refresh_from_db()
    assert bad.next_due_at <= db_now()
    assert not ScheduleRun.objects.filter(schedule=bad).exists()


@pytest.mark.django_db
def test_a_schedule_that_came_in_unplanned_is_planned():
    (one,) = Schedule.objects.bulk_create([schedule(cron="0 3 * * *")])

    assert fire() == 0

    one.refresh_from_db()
    assert one.next_due_at > db_now()


@pytest.mark.django_db
def test_many_due_schedules_take_few_queries():
    Schedule.objects.bulk_create([schedule(name=f"s{n}", next_due_at=db_now() - HOUR) for n in range(90)])

    with CaptureQueriesContext(connection) as queries:
        assert fire() == 90

    assert len(queries) < 20


@pytest.mark.django_db
def test_when_nothing_is_due_one_query_says_so():
    saved()

    with CaptureQueriesContext(connection) as queries:
        assert fire() == 0

    assert len([one for one in queries if "SAVEPOINT" not in one["sql"]]) == 1


@pytest.mark.django_db(transaction=True)
def test_many_workers_make_one_job_for_each_due_moment():
    for number in range(20):
        due(saved(name=f"s{number}"))

    def work():
        try:
            for _attempt in range(20):
                fire()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert Job.objects.count() == 20
    assert ScheduleRun.objects.count() == 20


@pytest.mark.django_db
def test_run_now_makes_a_job_and_leaves_the_plan_alone():
    one = saved()

    job = run_now(one, by="ada")

    assert (job.schedule, job.created_by) == (one, "ada")
    planned = one.next_due_at
    one.refresh_from_db()
    assert one.next_due_at == planned
    assert one.last_run_at is not None


@pytest.mark.django_db
def test_run_now_refuses_arguments_that_do_not_fit():
    with pytest.raises(TypeError, match="charge_card"):
        run_now(saved(kwargs={"amuont": 1}))


# While the last run is still going


def made(one: Schedule) -> list[Job]:
    return list(Job.objects.filter(schedule=one).order_by("pk"))


def finish(job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=states.SUCCEEDED, finished_at=db_now())


def kinds(one: Schedule) -> list[str]:
    return list(one.runs.order_by("due_at").values_list("kind", flat=True))


@pytest.mark.django_db
def test_by_default_a_run_starts_though_the_last_one_is_still_going():
    one = due(saved())
    fire()
    due(one)

    assert fire() == 1
    assert [job.state for job in made(one)] == [states.QUEUED, states.QUEUED]


@pytest.mark.django_db
def test_a_run_is_skipped_while_the_last_one_is_still_going_and_history_says_so():
    one = due(saved(overlap="skip"))
    fire()
    due(one)

    assert fire() == 0
    assert kinds(one) == ["due", "skipped"]
    one.refresh_from_db()
    assert one.run_count == 1
    assert one.next_due_at > db_now()

    finish(made(one)[0])
    due(one)
    assert fire() == 1


@pytest.mark.django_db
def test_a_job_that_a_person_started_counts_as_going():
    one = saved(overlap="skip")
    run_now(one)
    due(one)

    assert fire() == 0


@pytest.mark.django_db
def test_runs_wait_for_the_one_before_and_start_in_their_order():
    one = due(saved(overlap="queue"))
    for _ in range(3):
        fire()
        due(one)
    first, second, third = made(one)

    assert [job.state for job in (first, second, third)] == ["queued", "scheduled", "scheduled"]
    assert "waits for the run before it" in explanation(second.pk)["because"][0]
    assert follow() == 0

    finish(first)
    assert follow() == 1
    assert follow() == 0  # the second one is going
    finish(second)
    assert follow() == 1
    third.refresh()
    assert third.state == "queued"


@pytest.mark.django_db
def test_a_waiting_run_can_be_cancelled_and_the_next_takes_its_place():
    one = due(saved(overlap="queue"))
    for _ in range(3):
        fire()
        due(one)
    first, second, third = made(one)

    enqueue.cancel(second)
    finish(first)

    assert follow() == 1
    third.refresh()
    assert third.state == states.QUEUED


@pytest.mark.django_db
def test_no_more_than_a_hundred_runs_wait(monkeypatch):
    monkeypatch.setattr(firing, "MOST_WAITING", 2)
    one = due(saved(overlap="queue"))

    for _ in range(5):
        fire()
        due(one)

    assert kinds(one) == ["due", "due", "due", "skipped", "skipped"]


@pytest.mark.django_db
def test_when_no_run_waits_one_query_says_so():
    due(saved(overlap="queue"))
    fire()

    with CaptureQueriesContext(connection) as queries:
        assert follow() == 0

    assert len(queries) == 1


# After downtime


def after_hours_away(**values) -> Schedule:
    """A schedule of every hour whose worker was away for three and a half: three moments were missed."""
    one = saved(every=HOUR, **values)
    first = db_now() - 2.5 * HOUR
    Schedule.objects.filter(pk=one.pk).update(created_at=first - HOUR, next_due_at=first)
    one.refresh_from_db()
    return one


@pytest.mark.django_db
def test_after_downtime_what_was_missed_can_be_skipped():
    one = after_hours_away(after_downtime="skip")

    assert fire() == 0

    assert kinds(one) == ["missed"]
    one.refresh_from_db()
    assert one.next_due_at > db_now()
    assert one.last_due_at == one.runs.get().due_at


@pytest.mark.django_db
def test_a_run_that_is_a_little_late_is_not_downtime():
    one = due(saved(after_downtime="skip"), ago=timedelta(seconds=5))

    assert fire() == 1
    assert kinds(one) == ["due"]


@pytest.mark.django_db
@pytest.mark.parametrize(("most", "expected"), [(10, 3), (2, 2), (1, 1)])
def test_after_downtime_all_can_be_run_up_to_a_number(most, expected):
    one = after_hours_away(after_downtime="all", catch_up=most)
    last = one.next_due_at + 2 * HOUR

    assert fire() == expected

    moments = list(one.runs.order_by("due_at").values_list("due_at", flat=True))
    assert moments == [last - number * HOUR for number in reversed(range(expected))]
    assert fire() == 0


@pytest.mark.django_db
def test_what_is_made_up_for_can_run_one_after_the_other():
    one = after_hours_away(after_downtime="all", overlap="queue")

    assert fire() == 3
    assert [job.state for job in made(one)] == ["queued", "scheduled", "scheduled"]


@pytest.mark.django_db
def test_running_all_of_them_does_not_go_with_skipping():
    with pytest.raises(ValidationError, match="still be going"):
        schedule(after_downtime="all", overlap="skip").full_clean()


# So many runs, and a little later


@pytest.mark.django_db
def test_after_so_many_runs_a_schedule_is_disabled_with_a_note():
    one = saved(max_runs=2)
    for _ in range(2):
        due(one)
        assert fire() == 1

    one.refresh_from_db()
    assert (one.enabled, one.next_due_at, one.run_count) == (False, None, 2)
    assert "all its runs" in one.note
    one.enabled = True
    with pytest.raises(ValidationError, match="made its 2 runs"):
        one.full_clean()


@pytest.mark.django_db
def test_a_stale_save_does_not_give_runs_back():
    read_before = due(saved(max_runs=1))
    fire()

    read_before.save()

    read_before.refresh_from_db()
    assert read_before.run_count == 1
    assert fire() == 0


@pytest.mark.django_db
def test_catching_up_makes_no_more_runs_than_are_left():
    one = after_hours_away(after_downtime="all", max_runs=2)

    assert fire() == 2
    one.refresh_from_db()
    assert not one.enabled


@pytest.mark.django_db
def test_jitter_puts_off_the_start_and_not_the_moment():
    one = due(saved(jitter=HOUR))
    was_due = one.next_due_at

    assert fire() == 1

    (job,) = made(one)
    assert job.state == states.SCHEDULED
    assert was_due < job.run_after <= was_due + HOUR
    assert one.runs.get().due_at == was_due


# Who may stop whom


@pytest.mark.django_db
def test_an_edit_while_a_worker_computes_is_not_overwritten(monkeypatch):
    one = due(saved(every=HOUR))

    def edit(name: str) -> None:
        monkeypatch.setattr(fire_module.failpoints, "hit", lambda name: None)
        edited = Schedule.objects.get(pk=one.pk)
        edited.every = DAY
        edited.save()

    monkeypatch.setattr(fire_module.failpoints, "hit", edit)
    assert fire() == 0
    assert fire() == 1

    one.refresh_from_db()
    assert (one.every, one.next_due_at) == (DAY, one.created_at + DAY)


@pytest.mark.django_db
def test_what_another_worker_fired_while_this_one_computed_is_not_fired_again(monkeypatch):
    one = due(saved())

    def other_worker(name: str) -> None:
        monkeypatch.setattr(fire_module.failpoints, "hit", lambda name: None)
        assert fire() == 1

    monkeypatch.setattr(fire_module.failpoints, "hit", other_worker)

    assert fire() == 0
    assert len(made(one)) == 1


@pytest.mark.django_db
def test_a_run_by_hand_never_takes_the_place_of_a_due_one(monkeypatch):
    one = due(saved())
    monkeypatch.setattr(produce, "db_now", lambda: one.next_due_at)

    run_now(one)

    assert fire() == 1
    assert kinds(one) == ["due", "by_hand"]


@pytest.mark.once
@pytest.mark.django_db
def test_of_ten_thousand_schedules_the_thousand_that_are_due_are_made_at_one_look():
    now = db_now()
    rows = [schedule(name=f"s{n}", next_due_at=now - DAY if n < 1000 else now + DAY) for n in range(10_000)]
    Schedule.objects.bulk_create(rows, batch_size=1000)

    started = time.monotonic()
    assert fire() == 1000
    print(f" [1,000 of 10,000 made in {time.monotonic() - started:.2f} s]", end="")

    assert Job.objects.count() == ScheduleRun.objects.count() == 1000
    assert fire() == 0


# In words


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cron": "0 7 * * mon-fri"}, "At 07:00, Monday through Friday"),
        ({"cron": "@daily", "timezone": "Asia/Tokyo"}, "At 00:00 (Asia/Tokyo)"),
        ({"cron": "nonsense"}, "nonsense"),
        ({"every": timedelta(minutes=90)}, "Every 1 hour 30 minutes"),
        ({"every": timedelta(seconds=1.5)}, "Every 1 second 500 ms"),
    ],
)
def test_a_schedule_says_in_words_when_it_runs(values, words):
    assert sentence(schedule(**values)) == words


def test_the_tasks_of_this_suite_are_registered():
    assert admin_tasks.charge_card.module_path == TASK
