"""What must be true of every job when the dust has settled, checked over all jobs and all their effects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

import redis

from django_jobs import states
from django_jobs.models import Job


@dataclass
class Log:
    """What bodies and producers have written: starts by (job, claim), ends, and jobs rolled back."""

    starts: Counter = field(default_factory=Counter)
    last_start: dict[UUID, float] = field(default_factory=dict)
    ends: Counter = field(default_factory=Counter)
    rolled_back: set[UUID] = field(default_factory=set)


def read_log(path: Path) -> Log:
    log = Log()
    for line in path.read_text().splitlines() if path.exists() else ():
        word, id, claim, moment = line.split()
        job = UUID(id)
        match word:
            case "start":
                log.starts[job, int(claim)] += 1
                log.last_start[job] = float(moment)
            case "end":
                log.ends[job] += 1
            case "rolledback":
                log.rolled_back.add(job)
    return log


def violations(path: Path, server: redis.Redis) -> list[str]:
    """Return what is wrong, in words; an empty list is what every fault must end with."""
    log = read_log(path)
    jobs = {job.pk: job for job in Job.objects.all()}
    by_job: Counter = Counter()
    for (job, _), count in log.starts.items():
        by_job[job] += count
    wrong = [f"{job} was started {n} times under claim {claim}" for (job, claim), n in log.starts.items() if n > 1]
    wrong += [f"{job} was rolled back and ran" for job in log.rolled_back if by_job[job]]
    wrong += [f"{job} ran and has no row" for job in by_job if job not in jobs]
    for job in jobs.values():
        wrong += wrong_with(job, by_job[job.pk], log)
    return wrong + left_in_redis(server)


def wrong_with(job: Job, starts: int, log: Log) -> list[str]:
    found = []
    if job.state not in states.FINAL:
        found.append(f"{job.pk} is {job.state} in the end")
    if job.state == states.SUCCEEDED and not log.ends[job.pk]:
        found.append(f"{job.pk} succeeded and never came to its end")
    if starts > job.attempt:
        found.append(f"{job.pk} was started {starts} times, {job.attempt} attempts are recorded")
    if starts and job.finished_at and log.last_start[job.pk] > job.finished_at.timestamp() + 0.001:
        found.append(f"{job.pk} was started after its outcome was recorded")
    return found


def left_in_redis(server: redis.Redis) -> list[str]:
    kinds = ("lane", "ranks", "known", "taken", "takers")
    return [
        f"Redis still holds {key.decode()}"
        for key in server.scan_iter(match="{django_jobs:1}:*")
        if key.decode().split(":")[2] in kinds
    ]
