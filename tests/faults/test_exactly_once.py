"""``atomic=True``: whatever dies or freezes, an effect in the jobs' database happens once for each job."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from django_jobs import failpoints, states
from django_jobs.models import Job
from tests.app import fault_tasks
from tests.app.models import Effect
from tests.faults.invariants import read_log
from tests.faults.test_failpoints import IN_A_CHILD
from tests.services import wait_for

pytestmark = pytest.mark.django_db(transaction=True)


def effects_by_job() -> Counter:
    return Counter(Effect.objects.values_list("key", flat=True))


@pytest.mark.once
@pytest.mark.parametrize("name", [*IN_A_CHILD, "atomic_before_commit", "atomic_after_commit"])
def test_a_child_killed_at_any_point_leaves_one_effect_of_each_job(worker, log, once, all_is_well, name):
    jobs = fault_tasks.atomic_effect.enqueue_many([{"key": f"{number}"} for number in range(20)])

    worker("--threads", "2", DJANGO_JOBS_FAILPOINT=f"{name}=crash!{once}")

    wait_for(Path(once).exists, 30, "the failpoint to be reached")
    all_is_well()
    assert effects_by_job() == {f"{number}": 1 for number in range(len(jobs))}
    assert Job.objects.filter(state=states.SUCCEEDED).count() == len(jobs)


def test_every_failpoint_of_a_child_is_tried_here():
    assert {*IN_A_CHILD, "atomic_before_commit", "atomic_after_commit"} <= {*failpoints.NAMES}


@pytest.mark.postgresql
def test_workers_frozen_beyond_their_lease_in_their_bodies_leave_one_effect_of_each_job(
    worker, log, all_is_well, tmp_path
):
    """SQLite is left out: there a frozen writer keeps the whole database locked until it goes on."""
    path = str(tmp_path / "go")
    jobs = fault_tasks.atomic_effect.enqueue_many([{"key": f"{number}", "path": path} for number in range(6)])
    frozen = worker("--threads", "6")
    wait_for(lambda: len(read_log(log).starts) == len(jobs), 20, "all bodies")

    os.killpg(frozen.process.pid, signal.SIGSTOP)
    worker("--threads", "6")
    wait_for(lambda: len(read_log(log).starts) > len(jobs), 30, "a second start; what was lost runs one by one")
    os.killpg(frozen.process.pid, signal.SIGCONT)
    (tmp_path / "go").touch()  # both come to their ends at once
    all_is_well()

    wait_for(lambda: sum(read_log(log).ends.values()) > len(jobs), 10, "the end of a zombie's body")
    time.sleep(1)  # in which its effect would come
    assert effects_by_job() == {f"{number}": 1 for number in range(len(jobs))}
    assert Job.objects.filter(state=states.SUCCEEDED).count() == len(jobs)
