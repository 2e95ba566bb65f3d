"""Schedules of the real django-celery-beat, taken over so that each moment makes one run and not two."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from django.apps import apps
from django.contrib.admin import site
from django.core.management import call_command
from django.test.utils import modify_settings

from django_jobs.management import beat
from django_jobs.models import Job, Schedule, db_now
from django_jobs.scheduler.fire import fire
from tests.app import tasks

pytest.importorskip("django_celery_beat", reason="it does not go with this Django")
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

ADD, EFFECT = tasks.add.module_path, tasks.effect.module_path
HOUR = timedelta(hours=1)


@pytest.fixture(scope="module")
def tables(django_db_setup, django_db_blocker):
    """The tables of django-celery-beat, by its own migrations."""
    with modify_settings(INSTALLED_APPS={"append": "django_celery_beat"}), django_db_blocker.unblock():
        call_command("migrate", "django_celery_beat", verbosity=0)
        yield
        for model in filter(site.is_registered, apps.get_app_config("django_celery_beat").get_models()):
            site.unregister(model)  # the admin of later tests is without it


@pytest.fixture(autouse=True)
def without_redis(tables, settings):
    settings.DJANGO_JOBS = {"QUEUES": ["default", "mail"], "CACHE": None}


def models():
    from django_celery_beat import models  # here: the app is not among those of the suite

    return models


def entry(name: str, *, task: str = EFFECT, kwargs: dict | None = None, crontab=None, every=None, clocked=None, **more):
    beats = models()
    if crontab:
        more["crontab"] = beats.CrontabSchedule.objects.create(**crontab)
    if every:
        more["interval"] = beats.IntervalSchedule.objects.create(every=every[0], period=every[1])
    if clocked:
        more["clocked"] = beats.ClockedSchedule.objects.create(clocked_time=clocked)
        more["one_off"] = True
    kwargs = {"key": name} if kwargs is None else kwargs
    return beats.PeriodicTask.objects.create(name=name, task=task, kwargs=json.dumps(kwargs), **more)


def take_over(*arguments: str) -> dict:
    out = StringIO()
    call_command("jobs", "schedules", "import", "--wait", "0", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def ours(name: str) -> Schedule:
    return Schedule.objects.get(name=name)


SEVEN = {"minute": "0", "hour": "7", "day_of_week": "mon-fri", "timezone": "Europe/Riga"}


def test_a_dry_run_says_what_would_be_done_and_does_nothing():
    theirs = entry("report", crontab=SEVEN)

    told = take_over("--dry-run")

    assert told == {"would_import": ["report"], "refused": {}, "remarks": {}}
    theirs.refresh_from_db()
    assert theirs.enabled
    assert not Schedule.objects.exists()


def test_a_crontab_is_taken_over_with_its_zone_arguments_and_queue():
    last = datetime(2026, 1, 5, 5, 0, 1, tzinfo=UTC)
    theirs = entry("report", crontab=SEVEN, args='["a"]', kwargs={}, queue="mail", last_run_at=last)

    assert take_over()["imported"] == ["report"]

    one = ours("report")
    assert (one.cron, one.timezone, one.task_path) == ("0 7 * * mon-fri", "Europe/Riga", EFFECT)
    assert (one.args, one.kwargs, one.queue_name, one.enabled, one.note) == (["a"], {}, "mail", True, "")
    assert (one.last_run_at, one.last_due_at) == (last, last)
    assert one.next_due_at > db_now()
    theirs.refresh_from_db()
    assert not theirs.enabled


def test_an_interval_goes_on_from_its_last_run():
    last = db_now() - timedelta(minutes=20)
    entry("poll", every=(1, "hours"), last_run_at=last)

    take_over()

    assert ours("poll").every == HOUR
    assert ours("poll").next_due_at == last + HOUR


def test_a_clocked_one_and_a_one_off_run_once():
    moment = (db_now() + HOUR).replace(microsecond=0)
    entry("launch", clocked=moment)
    entry("first", every=(5, "minutes"), one_off=True)

    take_over()

    assert (ours("launch").once_at, ours("launch").next_due_at) == (moment, moment)
    assert ours("first").max_runs == 1


def test_a_one_off_that_has_run_stays_off():
    entry("first", every=(5, "minutes"), one_off=True, total_run_count=1, last_run_at=db_now() - HOUR)

    take_over()

    assert not ours("first").enabled


def test_one_that_is_off_stays_off():
    entry("report", crontab=SEVEN, enabled=False)

    take_over()

    assert not ours("report").enabled


def test_start_and_end_come_along():
    start, end = db_now() + HOUR, db_now() + 100 * HOUR
    entry("report", crontab=SEVEN, start_time=start, expires=end)

    take_over()

    assert (ours("report").starts_at, ours("report").ends_at) == (start, end)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"task": "nowhere.at_all", "every": (5, "minutes")}, "aliases="),
        ({"kwargs": {"kee": 1}, "every": (5, "minutes")}, "unexpected argument 'kee'"),
        ({"args": "{", "every": (5, "minutes")}, "do not fit"),
        ({"crontab": {"day_of_month": "13", "day_of_week": "fri"}}, "both given"),
        ({"crontab": {"day_of_month": "31", "month_of_year": "2"}}, "does not come"),
        ({"clocked": datetime(2020, 1, 1, tzinfo=UTC)}, "never run"),
    ],
)
def test_what_cannot_be_imported_stays_with_beat_and_the_reason_is_told(values, reason):
    theirs = entry("odd", **values)

    told = take_over()

    assert reason in told["refused"]["odd"]
    theirs.refresh_from_db()
    assert theirs.enabled
    assert not Schedule.objects.exists()


def test_a_solar_one_is_refused_by_name():
    beats = models()
    solar = beats.SolarSchedule.objects.create(event="sunset", latitude=56, longitude=24)
    entry("lamps", solar=solar)

    assert "Solar schedules (sunset)" in take_over()["refused"]["lamps"]


def test_what_is_lost_on_the_way_is_told():
    entry("report", crontab=SEVEN, queue="nowhere", priority=3, expire_seconds=60, headers='{"a": 1}')

    remarks = " ".join(take_over()["remarks"]["report"])

    for word in ("No queue", "priority", "expire", "headers"):
        assert word in remarks


def test_a_second_import_finds_nothing_to_do():
    entry("report", crontab=SEVEN)
    take_over()

    assert "here already" in take_over()["refused"]["report"]
    assert Schedule.objects.count() == 1


def test_names_of_days_are_shortened():
    entry("report", crontab={"minute": "0", "hour": "7, 19", "day_of_week": "Monday,friday"})

    take_over()

    assert ours("report").cron == "0 7,19 * * mon,fri"


# Never twice


class Beat:
    """The real scheduler of beat, driven tick by tick; what it would send is noted."""

    def __init__(self):
        from celery import Celery  # here: slow to import
        from django_celery_beat.schedulers import DatabaseScheduler

        self.sent: list[str] = []
        self.scheduler = DatabaseScheduler(app=Celery("beat", broker="memory://"), lazy=True)
        self.scheduler.apply_async = lambda entry, **options: self.sent.append(entry.name) or self._result()
        self.scheduler.sync_every = 0

    @staticmethod
    def _result():
        return type("Result", (), {"id": "x"})()

    def tick(self) -> None:
        self.scheduler.tick()


def test_each_moment_is_run_by_beat_or_by_us_and_never_by_both(monkeypatch):
    entry("often", every=(1, "seconds"), last_run_at=db_now())
    running = Beat()
    while running.sent.count("often") < 2:
        running.tick()

    # Beat goes on for a moment after its entry was switched off, as one does that has not noticed yet.
    monkeypatch.setattr(beat.time, "sleep", lambda seconds: running.scheduler.tick())
    take_over()
    before = running.sent.count("often")
    last = models().PeriodicTask.objects.get(name="often").last_run_at

    while Job.objects.count() < 2:
        running.tick()
        fire()

    assert running.sent.count("often") == before, "beat went on after the take-over"
    assert ours("often").runs.order_by("due_at").first().due_at > last


def test_a_moment_between_the_two_is_not_lost(monkeypatch):
    """Beat is not running any more: what came due while the import waited for it is ours."""
    entry("often", every=(1, "seconds"), last_run_at=db_now() - timedelta(seconds=0.2))
    monkeypatch.setattr(beat.time, "sleep", lambda seconds: _pass(1.2))

    take_over()

    assert ours("often").next_due_at <= db_now()
    assert fire() == 1


def _pass(seconds: float) -> None:
    end = db_now() + timedelta(seconds=seconds)
    while db_now() < end:
        pass


def test_an_import_that_was_cut_off_goes_on_where_it_was(monkeypatch):
    def cut(seconds):
        raise KeyboardInterrupt

    entry("report", crontab=SEVEN)
    monkeypatch.setattr(beat.time, "sleep", cut)
    with pytest.raises(KeyboardInterrupt):
        take_over()
    assert (ours("report").enabled, "run the import again" in ours("report").note) == (False, True)

    monkeypatch.setattr(beat.time, "sleep", lambda seconds: None)
    assert take_over()["imported"] == ["report"]
    assert (ours("report").enabled, ours("report").note) == (True, "")
