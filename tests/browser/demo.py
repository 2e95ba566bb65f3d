"""A shop's background on a Tuesday afternoon: what the pictures in the docs show, the same in each run."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

from django_jobs.histogram import bucket
from django_jobs.models import Attempt, Counter, Job, JobLabel, Queue, Schedule, ScheduleRun, Traceback, Worker
from tests.app.models import Effect

sys.path.append(str(Path(__file__).parent / "project"))
from store import tasks

NOW = datetime(2026, 3, 10, 13, 32, 7, tzinfo=UTC)
GATEWAY, DECODER, SMTP = "3f1a77c0", "b0c4e812", "77d05a3e"  # fingerprints


def fill() -> dict[str, str]:
    """Save all of it, and return the keys of the rows that have a page in the table of pages."""
    queues()
    crew = workers()
    schedules()
    failures()
    keys = jobs(crew)
    counters()
    schedule = Schedule.objects.get(name="Sync stock")
    return keys | {"schedule": str(schedule.pk), "queue": "mail", "worker": str(crew[0].pk)}


def ago(**length: float) -> datetime:
    return NOW - timedelta(**length)


def number(at: datetime, place: int) -> UUID:
    """Return an id as jobs of that moment have it, the same in each run."""
    return UUID(int=int(at.timestamp() * 1000) << 80 | 7 << 76 | 2 << 62 | place * 0x9E3779B97F4A7C15 % 2**62)


# Queues and workers


def queues() -> None:
    Queue.objects.bulk_create([Queue(name=name) for name in ("default", "images", "mail")])
    why = "The warehouse database is being moved"
    Queue.objects.create(name="reports", paused_at=ago(minutes=41), paused_by="ada", reason=why)


def workers() -> list[Worker]:
    alive = {"beat_at": ago(seconds=1), "alive_until": NOW + timedelta(seconds=5), "version": "0.1.0"}
    gone = {"beat_at": ago(minutes=2), "alive_until": ago(seconds=114), "lost_at": ago(seconds=112), "version": "0.1.0"}
    crew = [
        Worker(host="web-1", pid=4127, slots=4, queues=["default", "mail"], info={"memory_mb": 184}, **alive),
        Worker(host="web-2", pid=388, slots=4, queues=["default", "mail"], info={"memory_mb": 171}, **alive),
        Worker(host="media-1", pid=311, slots=2, queues=["images"], info={"memory_mb": 402}, **gone),
    ]
    for place, one in enumerate(crew):
        one.id, one.started_at = number(ago(hours=30 - place), place), ago(hours=30 - place)
    return Worker.objects.bulk_create(crew)


# Jobs


def jobs(crew: list[Worker]) -> dict[str, str]:
    made: list[Job] = []

    def add(task, args: list, state: str, at: datetime, **columns) -> Job:
        columns = {"queue_name": task.queue_name, "max_attempts": 3} | columns
        one = Job(task_path=task.module_path, args=args, state=state, enqueued_at=at, **columns)
        one.id = number(at, len(made))
        made.append(one)
        return one

    for place in range(40):
        at = ago(seconds=40 + 13 * place)
        ran = {"claimed_at": at, "started_at": at, "finished_at": at + timedelta(milliseconds=180 + 97 * place % 900)}
        add(tasks.send_invoice, [10_420 - place], "succeeded", at, attempt=1, created_by="shop", **ran)
    for place in range(3):
        add(tasks.monthly_report, [f"2026-0{1 + place}"], "queued", ago(minutes=38 - place))
    for place in range(17):
        add(tasks.send_newsletter, ["2026-10"], "queued", ago(seconds=30 - place), kwargs={"recipients": 500})
    for place in range(4):
        add(tasks.resize_photo, [f"products/{8800 + place}.jpg"], "queued", ago(seconds=90 - place))
    for place in range(6):
        add(tasks.sync_stock, ["Riga"], "scheduled", ago(minutes=3), run_after=NOW + timedelta(minutes=4 + place))
    held = {"claimed_at": ago(seconds=21), "started_at": ago(seconds=21), "attempt": 1}
    for place, one in enumerate(crew[:2]):
        add(tasks.charge_card, [10_466 + place], "running", ago(seconds=22), worker=one.pk, slot=0, **held)
    running = add(
        *(tasks.import_products, ["spring-catalogue.csv"], "running", ago(minutes=2)),
        **held | {"started_at": ago(seconds=95)},
        **{"worker": crew[0].pk, "slot": 1, "created_by": "grace"},
        progress={"done": 3120, "total": 4800, "text": "products"},
    )
    failed = _failed_jobs(add, crew)
    Job.objects.bulk_create(made)
    return {"job": str(failed.pk), "running_job": str(running.pk), "order": str(order(failed, made))}


def order(failed: Job, made: list[Job]) -> int:
    """Save an object that some of the jobs are about, among them the failed one; return its key."""
    one = Effect.objects.create(pk=10_466, key="Order 10466")
    invoices = [job for job in made if job.name == "send_invoice"]
    charges = [job for job in made if job.name == "charge_card" and job.args == [10_466] and job is not failed]
    about = [failed, *charges[:1], *invoices[:3]]
    JobLabel.objects.bulk_create(JobLabel(job=job, label=f"tests_app.effect:{one.pk}") for job in about)
    return one.pk


def failures() -> None:
    for fingerprint, place in ((GATEWAY, "gateway.py"), (DECODER, "photos.py"), (SMTP, "mail.py")):
        Traceback.objects.create(fingerprint=fingerprint, text=TRACE.replace("PLACE", place), created_at=ago(days=1))


TRACE = """Traceback (most recent call last):
  File "/srv/store/store/tasks.py", line 41, in charge_card
    receipt = gateway.charge(order.card, amount, key=str(order.pk))
  File "/srv/store/store/PLACE", line 88, in charge
    answer = self.session.post(f"{self.base}/charges", json=charge, timeout=10)
  File "/srv/venv/lib/python3.12/site-packages/requests/sessions.py", line 637, in post
    return self.request("POST", url, data=data, json=json, **kwargs)
  File "/srv/venv/lib/python3.12/site-packages/requests/adapters.py", line 713, in send
    raise ReadTimeout(e, request=request)
"""


def _failed_jobs(add, crew: list[Worker]) -> Job:
    attempts: list[Attempt] = []

    def fail(
        task, args: list, at: datetime, error: tuple[str, str, str], state: str = "failed", tries: int = 3, **more
    ):
        exception, message, fingerprint = error
        name = exception.rpartition(".")[2]
        last = {"finished_at": at} if state == "failed" else {"run_after": NOW + timedelta(seconds=48)}
        begun = at - timedelta(seconds=90)
        counts = {"attempt": tries, "failures": tries, "claim": tries, "last_error": f"{name}: {message}"}
        one = add(task, args, state, begun, **counts, **last, **more, started_at=at - timedelta(seconds=10))
        for place in range(1, tries + 1):
            ended = begun + place * (at - begun) / tries
            times = {"started_at": ended - timedelta(seconds=10), "finished_at": ended}
            told = {"exception_class": exception, "message": message, "fingerprint": fingerprint}
            attempts.append(
                Attempt(job_id=one.id, number=place, kind="failed", worker=crew[place % 2].pk, **times, **told)
            )
        return one

    for place in range(2):
        error = ("smtplib.SMTPServerDisconnected", "Connection unexpectedly closed", SMTP)
        fail(tasks.send_invoice, [10_381 + place], ago(minutes=52 - place), error, tries=5)
    for place in range(5):
        error = ("PIL.UnidentifiedImageError", f"cannot identify image file 'products/{8710 + place}.jpg'", DECODER)
        fail(tasks.resize_photo, [f"products/{8710 + place}.jpg"], ago(minutes=33 - place), error, tries=1)
    for place in range(4):
        error = ("requests.exceptions.ReadTimeout", "the gateway did not answer within 10 s", GATEWAY)
        fail(tasks.charge_card, [10_460 + place], ago(seconds=70 - place), error, state="retrying", tries=1)
    for place in range(50):
        error = ("requests.exceptions.ReadTimeout", "the gateway did not answer within 10 s", GATEWAY)
        more = {"kwargs": {"amount": 49.9 + place, "card_token": "tok_4242"}, "created_by": "grace"}
        one = fail(tasks.charge_card, [10_431 + place], ago(minutes=9, seconds=-7 * place), error, **more)
    Attempt.objects.bulk_create(attempts)
    return one


# What became of them


def counters() -> None:
    minute = NOW.replace(second=0)
    cells = []
    for minutes in range(60):
        since = {"since": minute - timedelta(minutes=minutes), "seconds": 60}
        for place, name in enumerate(("default", "images", "mail")):
            usual = (46, 9, 71)[place] + (minutes * (7 + place) * 11) % (23, 7, 31)[place]
            cells.append(Counter(kind="succeeded", queue_name=name, count=usual, **since))
            for kind, length in (("wait", (0.004, 0.09, 0.7)[place]), ("run", (0.3, 1.4, 0.05)[place])):
                cells.append(Counter(kind=kind, queue_name=name, bucket=bucket(length), count=usual, **since))
        if 2 <= minutes <= 11:
            cells.append(Counter(kind="failed", queue_name="default", count=3 + minutes * 5 % 4, **since))
        elif minutes % 9 == 0:
            cells.append(Counter(kind="failed", queue_name="images", count=1, **since))
    for hours in range(2, 24):
        since = {"since": NOW.replace(minute=0, second=0) - timedelta(hours=hours), "seconds": 3600}
        cells.append(Counter(kind="succeeded", queue_name="mail", count=5200 + hours * 131 % 900, **since))
        cells.append(Counter(kind="failed", queue_name="mail", count=hours % 3, **since))
    Counter.objects.bulk_create(cells)


def schedules() -> None:
    code = {"key": "store.tasks.forget_old_carts", "declared": {"cron": "0 4 * * *"}}
    rows = [
        ("Sync stock", tasks.sync_stock, ["Riga"], {"cron": "*/10 7-19 * * mon-fri"}),
        ("Newsletter", tasks.send_newsletter, ["2026-11"], {"cron": "0 9 * * tue"}),
        ("Forget old carts", tasks.forget_old_carts, [], {"cron": "30 2 * * *"} | code),
        ("Report of the month", tasks.monthly_report, ["last"], {"cron": "0 6 1 * *"}),
        ("Photos of the fair", tasks.resize_photo, ["fair"], {"every": timedelta(hours=6), "enabled": False}),
    ]
    for place, (name, task, args, rule) in enumerate(rows):
        step = timedelta(minutes=10) if place == 0 else timedelta(days=1)
        ran = {"last_run_at": NOW.replace(second=0) - step / 5, "run_count": 700 // (place + 1)}
        told = {"name": name, "task_path": task.module_path, "created_at": ago(days=90), "updated_at": ago(days=3)}
        one = Schedule(args=args, **told, **ran, **rule)
        one.next_due_at = one.moment_after(NOW) if one.enabled else None
        _runs(Schedule.objects.bulk_create([one])[0], task, 1000 * (place + 1), step=step)


def _runs(one: Schedule, task, first: int, *, step: timedelta) -> None:
    for place in range(10):
        at = NOW.replace(second=0) - (place + 0.2) * step
        if kind := {4: "skipped", 8: "missed"}.get(place):
            ScheduleRun.objects.create(schedule=one, due_at=at, kind=kind)
            continue
        state, took = "failed" if place == 7 else "succeeded", timedelta(seconds=2 + place % 3)
        times = {"enqueued_at": at, "claimed_at": at, "started_at": at, "finished_at": at + took}
        job = Job(task_path=task.module_path, args=one.args, state=state, schedule=one, attempt=1, **times)
        job.id = number(at, first + place)
        job.queue_name = task.queue_name
        job.last_error = "TimeoutError: the warehouse did not answer" if state == "failed" else ""
        Job.objects.bulk_create([job])
        ScheduleRun.objects.create(schedule=one, due_at=at, job=job.pk)
