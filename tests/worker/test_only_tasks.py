"""What a row names is run only if it is a task, and a line of the worker is what it seems to be."""

from __future__ import annotations

import json

import pytest

from django_jobs.models import Attempt, Job, Schedule, db_now
from tests.app import hardening_tasks, tasks
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

UNLOADED = ["this", "antigravity", "tabnanny", "turtledemo"]
NO_TASKS = [
    *("os.system", "builtins.eval", "builtins.exec", "subprocess.call", "posix.system"),  # in every process
    *("this.s", "antigravity.webbrowser", "tabnanny.check", "turtledemo.clock.main", "tests.app.views.page"),
    *("tests.app.tasks.log", "tests.app.tasks.Effect", "tests.app.tasks.Effect.objects.create"),  # beside tasks
    *("tests.app.tasks.add.func", "tests.app.tasks.add.__call__", "tests.app.tasks.__dict__", "__main__.__builtins__"),
    *("tests.app.tasks", "add", "", ".", "..", "tests/app/tasks.add", "tests.app.tasks.add\n", "tests.app.tasks.ADD"),
]


def test_only_tasks_are_run_and_nothing_is_imported_because_a_row_names_it(worker, tmp_path):
    trace = tmp_path / "trace"
    rows = [Job(task_path=path, args=[f"touch {trace}"]) for path in NO_TASKS]
    Job.objects.bulk_create(rows)
    running = worker("--threads", "1").ready()

    ids = [row.pk for row in rows]
    wait_for(lambda: not Job.objects.filter(pk__in=ids, reason="").exists(), 60, "all to be given back")
    loaded = hardening_tasks.which_are_loaded.enqueue(UNLOADED).wait(30)

    running.stop()  # each is looked at again after a second, and then after two: none is in between any more
    assert loaded.return_value == []
    assert not trace.exists()
    found = Job.objects.filter(pk__in=ids)
    assert set(found.values_list("state", "attempt")) <= {("scheduled", 0), ("queued", 0)}
    assert not Attempt.objects.filter(job__in=ids).exists()
    assert all("is registered here" in reason for reason in found.values_list("reason", flat=True))


FORGED = '\x1b[2J\r\n✓ add 1 ms\n{"event": "finished"}\u202e\x9b\u2028\x00x'


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_line_of_a_worker_is_forged_by_data(burst, form):
    tasks.fail.enqueue(FORGED)
    tasks.raise_named.enqueue(FORGED)
    Job.objects.create(task_path=f"a.{FORGED}".replace("\0", ""))
    broken = Schedule(name=FORGED.replace("\0", ""), task_path="nowhere.x", cron="not\x1b cron", next_due_at=db_now())
    Schedule.objects.bulk_create([broken])  # without save(), which would refuse the rule

    ran = burst(*(["--json"] if form == "json" else []))

    lines = ran.output.removesuffix("\n").split("\n")
    assert len(lines) > 8
    assert all(line.isprintable() for line in lines), [line for line in lines if not line.isprintable()]
    if form == "json":
        events = [json.loads(line) for line in lines]
        assert sum(event["event"] == "finished" for event in events) == 2
    else:
        assert not [line for line in lines if line.startswith(("✓", "{"))]
        assert "\\x1b[2J\\r\\n✓ add 1 ms" in ran.output
