"""What the project does: ``enqueue`` prints the ids of what it enqueues, ``results ID...`` what came of it."""

import json
import os
import sys

import django

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.backend.swap.settings"
django.setup()

from django.utils import timezone  # noqa: E402

from tests.backend.swap.shop import tasks  # noqa: E402
from tests.backend.swap.shop.models import Order  # noqa: E402

if django.VERSION >= (6, 0):
    from django.tasks import TaskResultStatus, default_task_backend
else:
    from django_tasks import TaskResultStatus, default_task_backend


def enqueue():
    when = {"run_after": timezone.now(), "queue_name": "emails"} if default_task_backend.supports_defer else {}
    results = [
        Order(pk=7).send(**when),
        tasks.look_up.enqueue("jobs"),
        tasks.count.using(priority=-10).enqueue([1, 2, 3]),
        tasks.refuse.enqueue(reason="not today"),
    ]
    return results


def shown(result):
    """Return what must be the same with every backend."""
    is_failed = result.status == TaskResultStatus.FAILED
    return {
        "status": result.status,
        "is_finished": result.is_finished,
        "attempts": result.attempts,
        "args": result.args,
        "kwargs": result.kwargs,
        "value": None if is_failed else result.return_value,
        "queue": result.task.queue_name,
        "priority": result.task.priority,
        "errors": [[one.exception_class_path, one.traceback.splitlines()[-1]] for one in result.errors],
    }


def read(ids):
    results = [default_task_backend.get_result(id) for id in ids]
    for result in results:
        result.refresh()
    return results


match sys.argv[1:]:
    case ["enqueue"]:
        print(json.dumps([result.id for result in enqueue()]))
    case ["enqueue-and-show"]:
        print(json.dumps([[result.id, shown(result)] for result in enqueue()]))
    case ["results", *ids]:
        print(json.dumps([[result.id, shown(result)] for result in read(ids)]))
