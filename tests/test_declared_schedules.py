"""Schedules that the code declares: the decorator, and what becomes of their rows when code and people change."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.management import call_command

import django_jobs
from django_jobs import InvalidTask, schedule, task
from django_jobs.models import Schedule, db_now
from django_jobs.scheduler.sync import REMOVED, Synced, restore, sync
from django_jobs.tasks import registry

pytestmark = pytest.mark.django_db
MINUTES = timedelta(minutes=15)


@pytest.fixture(autouse=True)
def only_ours(monkeypatch, settings):
    """No task and no schedule but those of the test; its functions stand at the top of a module."""
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}
    monkeypatch.setattr(registry, "_declared", {})
    monkeypatch.setattr(registry, "_tasks", dict(registry._tasks))


def top(name: str, body=None):
    """Return a function that looks as if it stood at the top of this module."""

    def function(country="LV", dry=False):
        return body

    function.__name__ = function.__qualname__ = name
    return function


def declare(**options):
    """Let the code say this, and nothing else."""
    registry._tasks.pop(f"{__name__}.report", None)
    registry._declared.clear()
    return schedule(**options)(task(top("report")))


# The decorator


def test_it_is_at_the_front_door():
    assert django_jobs.schedule is schedule
    assert "schedule" in django_jobs.__all__


def test_above_the_task_it_returns_the_task():
    one = schedule(cron="0 7 * * mon-fri", timezone="Europe/Riga", kwargs={"country": "EE"})(task(top("above")))

    assert one(dry=True) is None
    declared = registry.declared_schedules()[f"{__name__}.above"]
    assert (declared["cron"], declared["timezone"], declared["kwargs"]) == (
        "0 7 * * mon-fri", "Europe/Riga", {"country": "EE"},
    )  # fmt: skip


def test_below_the_task_it_is_the_same():
    task(schedule(every=MINUTES)(top("below")))

    assert registry.declared_schedules()[f"{__name__}.below"]["every"] == MINUTES


def test_a_task_may_have_several_with_names():
    task(schedule(cron="0 7 * * *", name="a")(schedule(every=60, name="b")(top("several"))))

    assert set(registry.declared_schedules()) == {"a", "b"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "Say when"),
        ({"cron": "0 3 31 2 *"}, "does not come"),
        ({"cron": "0 3 * * *", "every": 5}, "Only one"),
        ({"every": 0}, "one second at least"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Rgia"}, 'Did you mean "Europe/Riga"'),
        ({"every": 5, "overlap": "maybe"}, "Choose one of run, skip, queue"),
        ({"every": 5, "kwargs": {"country": object()}}, "object"),
        ({"every": 5, "max_runs": 0}, "at least one run"),
        ({"every": 5, "after_downtime": "all", "catch_up": 1000}, "from 1 to 100"),
        ({"every": 5, "priority": 500}, "-100 to 100"),
    ],
)
def test_what_cannot_be_right_is_refused_where_it_is_written(options, reason):
    with pytest.raises(InvalidTask, match="@schedule of wrong") as refusal:
        schedule(**options)(task(top("wrong")))

    assert reason in str(refusal.value)


def test_a_plain_task_of_the_framework_may_have_one():
    class Plain:
        name, module_path, func = "plain", "a.plain", top("plain")

    one = Plain()

    assert schedule(every=5)(one) is one
    assert registry.declared_schedules()["a.plain"]["task_path"] == "a.plain"


def test_arguments_are_bound_to_the_function():
    with pytest.raises(TypeError, match="unexpected argument 'cuontry'"):
        schedule(every=5, kwargs={"cuontry": "LV"})(task(top("bound")))


def test_two_without_names_are_refused():
    with pytest.raises(InvalidTask, match="give each a name"):
        schedule(every=5)(schedule(every=6)(task(top("twice"))))


# Rows


def test_a_declared_schedule_becomes_a_row_and_stays_one():
    declare(cron="0 7 * * *")

    assert sync() == Synced(created=[f"{__name__}.report"])
    assert sync() == Synced()

    one = Schedule.objects.get()
    assert (one.key, one.task_path, one.cron, one.overrides) == (f"{__name__}.report",) * 2 + ("0 7 * * *", [])
    assert one.next_due_at > db_now()


def test_with_nothing_new_one_query_says_so(django_assert_num_queries):
    declare(every=5)
    sync()

    with django_assert_num_queries(1):
        sync()


def test_a_change_of_the_code_is_taken_over():
    declare(cron="0 7 * * *")
    sync()

    declare(cron="0 8 * * *", kwargs={"dry": True})

    assert sync(dry_run=True).changed == [f"{__name__}.report"]
    assert Schedule.objects.get().cron == "0 7 * * *"
    sync()
    one = Schedule.objects.get()
    assert (one.cron, one.kwargs) == ("0 8 * * *", {"dry": True})


def test_what_a_person_has_changed_stays_and_is_told():
    declare(cron="0 7 * * *", kwargs={"dry": True})
    sync()
    one = Schedule.objects.get()
    one.cron, one.every = "", MINUTES
    one.save()

    declare(cron="0 8 * * *", kwargs={"dry": False})
    sync()

    one = Schedule.objects.get()
    assert (one.cron, one.every, one.kwargs) == ("", MINUTES, {"dry": False})
    assert one.overrides == ["cron", "every"]


def test_a_schedule_can_be_set_back_to_what_the_code_says():
    declare(cron="0 7 * * *")
    sync()
    one = Schedule.objects.get()
    one.cron, one.overlap = "0 9 * * *", "skip"
    one.save()

    restore(one)

    one = Schedule.objects.get()
    assert (one.cron, one.overlap, one.overrides) == ("0 7 * * *", "run", [])


def test_one_that_a_person_switched_off_stays_off():
    declare(cron="0 7 * * *")
    sync()
    one = Schedule.objects.get()
    one.enabled = False
    one.save()

    declare(cron="0 8 * * *")
    sync()

    assert not Schedule.objects.get().enabled


def test_one_removed_from_the_code_is_disabled_with_a_note_and_comes_back():
    declare(cron="0 7 * * *")
    sync()

    registry._declared.clear()
    assert sync().removed == [f"{__name__}.report"]
    one = Schedule.objects.get()
    assert (one.enabled, one.next_due_at, one.note, one.is_removed) == (False, None, REMOVED, True)
    assert sync() == Synced()

    declare(cron="0 7 * * *")
    sync()
    one = Schedule.objects.get()
    assert (one.enabled, one.note, one.is_removed) == (True, "", False)


def test_one_that_was_off_when_it_was_removed_stays_off_when_it_comes_back():
    declare(cron="0 7 * * *")
    sync()
    one = Schedule.objects.get()
    one.enabled = False
    one.save()
    registry._declared.clear()
    sync()

    declare(cron="0 7 * * *")
    sync()

    assert not Schedule.objects.get().enabled


def test_a_name_that_is_taken_is_left_to_its_owner():
    Schedule.objects.create(name="nightly", task_path="a.b", every=MINUTES)
    declare(cron="0 7 * * *", name="nightly")

    sync()

    assert set(Schedule.objects.values_list("name", "key")) == {
        ("nightly", None),
        ("nightly (from the code)", "nightly"),
    }


def test_one_that_is_not_valid_keeps_no_other_from_its_row(caplog):
    declare(cron="0 7 * * *", name="good")
    values = registry._declared["good"][1].values | {"cron": "nonsense"}
    registry._declared["bad"] = (registry._declared["good"][0], registry.Declaration(name="bad", values=values))

    sync()

    assert Schedule.objects.get().key == "good"
    assert "bad" in caplog.text


def test_schedules_of_people_are_not_touched():
    Schedule.objects.create(name="mine", task_path="a.b", every=MINUTES)

    assert sync() == Synced()


def test_the_command_syncs(capsys):
    declare(cron="0 7 * * *")

    call_command("jobs", "schedules", "sync", "--dry-run")
    assert not Schedule.objects.exists()
    call_command("jobs", "schedules", "sync")

    assert Schedule.objects.get().key == f"{__name__}.report"
    assert "created: " in capsys.readouterr().out
