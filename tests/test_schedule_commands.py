"""``manage.py jobs schedules``: list, show, run, pause and resume from a shell."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from django_jobs.models import Job, db_now
from tests.test_schedules import saved

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def without_redis(settings):
    settings.DJANGO_JOBS = {"QUEUES": [], "CACHE": None}


def schedules(*arguments: str) -> dict:
    out = StringIO()
    call_command("jobs", "schedules", *arguments, "--json", stdout=out)
    return json.loads(out.getvalue())


def test_schedules_are_listed_with_or_without_the_word():
    saved(name="evening", cron="0 19 * * *")

    assert schedules() == schedules("list")
    told = schedules()["evening"]
    assert (told["rule"], told["when"], told["enabled"]) == ("0 19 * * *", "At 19:00", True)


def test_json_may_be_asked_for_before_the_act_too():
    out = StringIO()

    call_command("jobs", "schedules", "--json", "list", stdout=out)

    assert json.loads(out.getvalue()) == {}


def test_the_next_runs_are_shown_in_the_zone_of_the_schedule():
    saved(name="evening", cron="0 19 * * *", timezone="Asia/Tokyo")

    told = schedules("show", "evening", "--next", "3")["evening"]["next"]

    assert len(told) == 3
    assert all(moment.endswith("19:00 JST") for moment in told)


def test_a_schedule_is_run_now():
    one = saved(name="evening")

    told = schedules("run", "evening")

    job = Job.objects.get()
    assert told == {"made": {"evening": str(job.pk)}}
    assert job.schedule == one
    assert job.created_by
    assert list(one.runs.values_list("kind", "job")) == [("by_hand", job.pk)]


def test_a_schedule_whose_arguments_do_not_fit_says_so():
    saved(name="evening", kwargs={"amuont": 1})

    with pytest.raises(CommandError, match="unexpected argument 'amuont'"):
        schedules("run", "evening")


def test_schedules_are_paused_and_resumed_with_their_history():
    one = saved(name="evening")
    schedules("run", "evening")

    assert schedules("pause", "evening") == {"paused": ["evening"]}
    assert schedules("pause", "evening") == {"paused": []}
    one.refresh_from_db()
    assert (one.enabled, one.next_due_at, one.runs.count()) == (False, None, 1)

    assert schedules("resume", "evening") == {"resumed": ["evening"]}
    one.refresh_from_db()
    assert one.next_due_at > db_now()


def test_one_that_would_never_run_is_not_resumed():
    one = saved(name="launch", once_at=db_now() + timedelta(hours=1))
    type(one).objects.update(enabled=False, once_at=db_now() - timedelta(hours=1))

    with pytest.raises(CommandError, match="never run"):
        schedules("resume", "launch")


def test_a_name_that_is_nearly_right_is_suggested():
    saved(name="evening")

    with pytest.raises(CommandError, match='Did you mean "evening"'):
        schedules("show", "evenning")


def test_an_import_without_the_other_app_says_what_to_do():
    with pytest.raises(CommandError, match="INSTALLED_APPS"):
        schedules("import")
