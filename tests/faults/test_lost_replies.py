"""What was asked for is done, and nobody hears of it: each reply that can get lost costs no job and no second run."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from django_jobs import broker, states
from django_jobs.models import Attempt, Job, Worker
from django_jobs.tasks import Task
from tests.app import fault_tasks, tasks
from tests.faults.conftest import MANAGE
from tests.faults.proxy import Proxy
from tests.services import wait_for

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.once]

SCRIPTS = {path.stem: path.read_text() for path in (Path(broker.__file__).parent / "scripts").glob("*.lua")}
COMMANDS = ["SMEMBERS", "GET", "BLPOP"]


def in_front_of(url: str) -> Proxy:
    parts = urlsplit(url)
    return Proxy(parts.hostname, parts.port)


@pytest.fixture
def redis_proxy(redis_clean):
    """A proxy in front of Redis, which has our scripts already."""
    for text in SCRIPTS.values():
        redis_clean.script_load(text)
    with in_front_of(os.environ["DJANGO_JOBS_TEST_REDIS"]) as proxy:
        yield proxy


@pytest.fixture
def postgres_proxy():
    with in_front_of(os.environ["DJANGO_JOBS_TEST_POSTGRES"]) as proxy:
        yield proxy


def sha(script: str) -> bytes:
    return hashlib.sha1(SCRIPTS[script].encode()).hexdigest().encode()


def command(name: str) -> bytes:
    """Return how the name of a command is sent."""
    return f"\r\n${len(name)}\r\n{name}\r\n".encode()


def enqueue_until(lost: threading.Event, task: Task = tasks.log_start_and_end, *args: object) -> None:
    """Enqueue jobs until a reply has been lost."""
    wait_for(lambda: task.enqueue(*args or (0,)) and lost.wait(0.1), 20, "a request whose reply gets lost")


def all_ran_once() -> bool:
    return not Job.objects.exclude(state=states.SUCCEEDED, attempt=1).exists()


# Redis


def test_lost_replies_to_a_workers_scripts_and_commands(worker, redis_proxy, redis_clean, log, all_is_well):
    tasks.log_start_and_end.enqueue(0)
    lost = redis_proxy.lose_replies(sha("count"))
    running = worker(DJANGO_JOBS_TEST_REDIS=f"redis://127.0.0.1:{redis_proxy.port}/0").ready()
    wait_for(lost.is_set, 20, "the books to be counted")

    for request in [sha("take"), *map(command, COMMANDS)]:
        enqueue_until(redis_proxy.lose_replies(request))
    enqueue_until(redis_proxy.lose_replies(command("SMISMEMBER")), tasks.log_start_and_end, 0.15)  # asked of a backlog
    for request in [sha("drop"), command("SET")]:  # asked when it is filled anew
        lost = redis_proxy.lose_replies(request)
        redis_clean.flushall()
        enqueue_until(lost)
    lost_take, lost = redis_proxy.lose_replies(sha("take")), redis_proxy.lose_replies(sha("give_back"))
    enqueue_until(lost)
    assert lost_take.is_set()

    all_is_well()
    assert all_ran_once()
    assert running.process.poll() is None


def test_a_lost_reply_to_what_a_clerk_gives_back_for_a_dead_child(worker, redis_proxy, log, tmp_path, all_is_well):
    running = worker(DJANGO_JOBS_TEST_REDIS=f"redis://127.0.0.1:{redis_proxy.port}/0").ready()
    lost = redis_proxy.lose_replies(sha("give_back"))
    job = fault_tasks.log_until.enqueue(str(tmp_path / "go"))
    wait_for(lambda: log.exists(), 20, "a start")

    os.kill(running.children()[1], signal.SIGKILL)

    wait_for(lost.is_set, 20, "ids to be given back")
    (tmp_path / "go").touch()
    all_is_well()
    assert job.wait(5).attempt == 2


def test_a_lost_reply_to_a_push_makes_no_second_run(worker, redis_proxy, settings, log, monkeypatch, all_is_well):
    monkeypatch.setattr(broker, "AT_ONCE", 5)  # what the machine does besides must not keep it from a second try
    url = f"redis://127.0.0.1:{redis_proxy.port}/0"
    settings.CACHES = {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": url}}
    worker().ready()

    for n in range(20):
        broker._producers.clear()  # whose breaker is open
        lost = redis_proxy.lose_replies(sha("push"), count=1 + n % 2)  # every second time also to the one made again
        enqueue_until(lost)

    all_is_well()
    assert all_ran_once()


def test_cut_connections_to_redis_are_made_again(worker, redis_proxy, log, all_is_well):
    running = worker(DJANGO_JOBS_TEST_REDIS=f"redis://127.0.0.1:{redis_proxy.port}/0").ready()

    for _ in range(5):
        wait_for(redis_proxy.cut, 10, "connections")
        tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 10)

    all_is_well()
    assert all_ran_once()
    assert running.process.poll() is None


# PostgreSQL

CLAIM, RECORD, BEAT = b"SET state = 'running'", b"AS r(id, claim, state", b'UPDATE "django_jobs_worker"'
INSERT, INSERT_ATTEMPT = b"INSERT INTO django_jobs_job", b'INSERT INTO "django_jobs_attempt"'


@pytest.mark.postgresql
def test_lost_replies_to_a_workers_statements(worker, postgres_proxy, log, all_is_well):
    url = f"postgresql://postgres@127.0.0.1:{postgres_proxy.port}/postgres"
    running = worker("--threads", "2", DJANGO_JOBS_TEST_POSTGRES=url).ready()
    long = tasks.log_start_and_end.enqueue(5)

    for request in [CLAIM, RECORD, BEAT]:
        enqueue_until(postgres_proxy.lose_replies(request))
    enqueue_until(postgres_proxy.lose_replies(b"COMMIT", after=INSERT_ATTEMPT), tasks.fail)
    for _ in range(3):
        wait_for(postgres_proxy.cut, 10, "connections")
        tasks.log_start_and_end.enqueue_many([{"seconds": 0}] * 5)

    all_is_well()
    assert not Job.objects.exclude(attempt=1, losses=0).exists()
    assert Attempt.objects.count() == Job.objects.filter(state=states.FAILED, failures=1).count() > 0
    assert long.wait(1).state == states.SUCCEEDED
    assert running.process.poll() is None
    assert Worker.objects.filter(lost_at=None).count() == Worker.objects.count() == 1


@pytest.mark.postgresql
@pytest.mark.parametrize(("sent", "after"), [(INSERT, b""), (b"COMMIT", INSERT)], ids=["INSERT", "COMMIT"])
def test_a_job_whose_commit_its_client_never_heard_of_runs_once(worker, postgres_proxy, log, all_is_well, sent, after):
    url = f"postgresql://postgres@127.0.0.1:{postgres_proxy.port}/postgres"
    worker().ready()
    lost = postgres_proxy.lose_replies(sent, after=after, count=2)

    produce = [sys.executable, str(MANAGE), "produce", "--count", "10", "--seed", "8"]
    done = subprocess.run(produce, env=os.environ | {"DJANGO_JOBS_TEST_POSTGRES": url}, capture_output=True, timeout=60)

    assert (done.returncode, lost.is_set()) == (0, True), done.stderr
    all_is_well()
    assert all_ran_once()
