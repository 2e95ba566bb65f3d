"""Which tasks a person may run or schedule, and in which queues."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from django.apps import apps

from ..conf import jobs_settings
from ..exceptions import TaskNotFound
from ..models import Queue
from ..tasks import Task, registry


def may_run(user: Any, task_path: str) -> bool:
    """Say whether the user may run or schedule the task: superusers any, others those declared for the admin."""
    if user.is_superuser:
        return True
    try:
        allowed = registry.get(task_path).admin
    except TaskNotFound:
        return False
    return user.has_perm(allowed) if isinstance(allowed, str) else allowed


def tasks_by_app(user: Any, *, besides: str = "") -> list[tuple[str, list[Task]]]:
    """Return the tasks that the user may run, in groups with the names of their apps; ``besides``: and this one."""
    groups: dict[str, list[Task]] = defaultdict(list)
    for path, task in registry.all_tasks().items():
        if path == besides or may_run(user, path):
            groups[_app_name(path)].append(task)
    return sorted(groups.items())


def queue_names() -> list[str]:
    """Return the queues that are set, and those that have had jobs."""
    return sorted({*jobs_settings.QUEUES, *Queue.objects.values_list("name", flat=True)})


def _app_name(path: str) -> str:
    config = apps.get_containing_app_config(path)
    return str(config.verbose_name) if config else path.rpartition(".")[0]
