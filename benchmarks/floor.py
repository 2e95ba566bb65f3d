"""The least that the same steps can cost: bare drivers, with neither Django nor a task in sight."""

from __future__ import annotations

import json
import multiprocessing
import queue
import threading
import time
from collections.abc import Callable, Sequence
from uuid import UUID, uuid4

import psycopg
import redis

from benchmarks.stage import Stage

DATABASE = "floor"
BATCH = 100
ROUNDS = 50  # of every step; the quickest half of them counts
ROWS = 20_000  # that the loop drains in each process
ARGUMENTS = {"args": [42, "x" * 60], "kwargs": {}}

TABLE = """
CREATE TABLE job (
    id uuid PRIMARY KEY, task text NOT NULL, args text NOT NULL, queue text NOT NULL, priority int NOT NULL,
    state text NOT NULL, claim bigint NOT NULL DEFAULT 0, worker uuid, run_after timestamptz,
    enqueued_at timestamptz NOT NULL DEFAULT now(), claimed_at timestamptz, started_at timestamptz,
    finished_at timestamptz, result text
);
CREATE INDEX ON job (state, queue, priority);
CREATE INDEX ON job (run_after);
CREATE INDEX ON job (finished_at);
CREATE INDEX ON job (task);
"""
INSERT = "INSERT INTO job (id, task, args, queue, priority, state) VALUES (%s, 'noop', %s, 'default', 0, 'queued')"
INSERT_MANY = """
INSERT INTO job (id, task, args, queue, priority, state)
SELECT id, 'noop', args, 'default', 0, 'queued' FROM unnest(%s::uuid[], %s::text[]) AS r(id, args)
"""
COPY = "COPY job (id, task, args, queue, priority, state) FROM STDIN"
CLAIM = """
UPDATE job SET state = 'running', claim = claim + 1, worker = %s, claimed_at = now()
WHERE id = ANY(%s) AND state = 'queued' RETURNING id, claim, task, args
"""
RECORD = """
UPDATE job SET state = 'succeeded', result = r.result, started_at = now(), finished_at = now()
FROM unnest(%s::uuid[], %s::bigint[], %s::text[]) AS r(id, claim, result)
WHERE job.id = r.id AND job.claim = r.claim AND state = 'running'
"""


def steps(stage: Stage) -> dict[str, float]:
    """Return what each step takes at least, in microseconds: of a job, where it is done for many at a time."""
    text = json.dumps(ARGUMENTS)
    with connected(stage) as connection, stage.valkey.client() as client:
        script = client.register_script("return redis.call('LPOP', KEYS[1], ARGV[1])")

        def insert_one() -> None:
            connection.execute(INSERT, [uuid4(), text])

        def insert_many() -> None:
            connection.execute(INSERT_MANY, [[uuid4() for _ in range(BATCH)], [text] * BATCH])

        def copy() -> None:
            with connection.cursor().copy(COPY) as rows:
                for _ in range(BATCH):
                    rows.write_row((uuid4(), "noop", text, "default", 0, "queued"))

        def push() -> None:
            client.rpush("floor", *[uuid4().hex for _ in range(BATCH)])

        def pop() -> None:
            script(keys=["floor"], args=[BATCH])

        ids = iter(_chunks(_insert(connection, BATCH * ROUNDS)))
        claimed: list[Sequence] = []

        def claim() -> None:
            claimed.append(connection.execute(CLAIM, [uuid4(), next(ids)]).fetchall())

        def record() -> None:
            rows = claimed.pop()
            columns = [[row[0] for row in rows], [row[1] for row in rows], ["null"] * len(rows)]
            connection.execute(RECORD, columns)

        return {
            "Redis round trip": _microseconds(client.ping),
            "push to Redis, 100 at a time": _microseconds(push) / BATCH,
            "pop from Redis by a script, 100 at a time": _microseconds(pop) / BATCH,
            "INSERT and COMMIT of one row": _microseconds(insert_one),
            "INSERT of 100 rows by unnest, a row": _microseconds(insert_many) / BATCH,
            "COPY of 100 rows, a row": _microseconds(copy) / BATCH,
            "claiming UPDATE ... RETURNING of 100 rows, a row": _microseconds(claim) / BATCH,
            "recording UPDATE ... FROM unnest of 100 rows, a row": _microseconds(record) / BATCH,
            "JSON of the arguments, there and back": _microseconds(lambda: json.loads(json.dumps(ARGUMENTS))),
            "from one thread to another and back": _hand_over(),
        }


def connected(stage: Stage) -> psycopg.Connection:
    """Return a connection to an empty table."""
    _make_table(stage)
    return _connect(stage)


def loop(stage: Stage, processes: int) -> float:
    """Return how many jobs a second a loop of bare drivers drains: pop 100 ids, claim, run, record."""
    _make_table(stage)
    with _connect(stage) as connection, stage.valkey.client() as client:
        client.delete("floor")
        for ids in _chunks(_insert(connection, ROWS * processes), 1000):
            client.rpush("floor", *(id.hex for id in ids))
    for statement in ("ANALYZE", "CHECKPOINT"):
        stage.postgres.execute(statement, DATABASE)
    fork = multiprocessing.get_context("fork")
    start, spans = fork.Barrier(processes), fork.SimpleQueue()
    address = (stage.postgres.database_url(DATABASE), stage.valkey.url)
    drainers = [fork.Process(target=_drain, args=(*address, start, spans)) for _ in range(processes)]
    for drainer in drainers:
        drainer.start()
    found = [spans.get() for _ in drainers]
    for drainer in drainers:
        drainer.join()
    return ROWS * processes / (max(end for _, end in found) - min(began for began, _ in found))


def _drain(postgres: str, valkey: str, start, spans) -> None:
    worker, tasks = uuid4(), {"noop": lambda *args, **kwargs: None}
    with psycopg.connect(postgres, autocommit=True) as connection, redis.Redis.from_url(valkey) as client:
        start.wait()
        began = time.monotonic()
        while ids := client.lpop("floor", BATCH):
            rows = connection.execute(CLAIM, [worker, [UUID(id.decode()) for id in ids]]).fetchall()
            results = []
            for _, _, task, text in rows:
                arguments = json.loads(text)
                results.append(json.dumps(tasks[task](*arguments["args"], **arguments["kwargs"])))
            connection.execute(RECORD, [[row[0] for row in rows], [row[1] for row in rows], results])
        spans.put((began, time.monotonic()))


def relay(stage: Stage, jobs: int, pause: float) -> list[float]:
    """Return the seconds from before an INSERT until a thread of another process has its claimed row, a pause between.

    Insert and commit, push, wake, claim and commit, hand over: what every queue must do that loses nothing and runs
    nothing twice.
    """
    _make_table(stage)
    with stage.valkey.client() as client:
        client.delete("floor")
    fork = multiprocessing.get_context("fork")
    began = fork.SimpleQueue()
    other = fork.Process(target=_receive, args=(stage.postgres.database_url(DATABASE), stage.valkey.url, began))
    other.start()
    durations, text = [], json.dumps(ARGUMENTS)
    with _connect(stage) as connection, stage.valkey.client() as client:
        for _ in range(jobs):
            time.sleep(pause)
            sent, id = time.monotonic(), uuid4()
            connection.execute(INSERT, [id, text])
            client.rpush("floor", id.hex)
            durations.append(began.get() - sent)
        client.rpush("floor", "")
    other.join()
    return durations


def _receive(postgres: str, valkey: str, began) -> None:
    """Claim what comes, and hand it to a thread, which says when it got it; until an empty id comes."""
    claimed: queue.SimpleQueue = queue.SimpleQueue()

    def body() -> None:
        while claimed.get():
            began.put(time.monotonic())

    thread = threading.Thread(target=body)
    thread.start()
    with psycopg.connect(postgres, autocommit=True) as connection, redis.Redis.from_url(valkey) as client:
        while id := client.blpop("floor")[1].decode():
            claimed.put(connection.execute(CLAIM, [uuid4(), [UUID(id)]]).fetchone())
    claimed.put(None)
    thread.join()


def _make_table(stage: Stage) -> None:
    stage.make_database(DATABASE)
    with _connect(stage) as connection:
        connection.execute("DROP TABLE IF EXISTS job")
        connection.execute(TABLE)


def _connect(stage: Stage) -> psycopg.Connection:
    return psycopg.connect(stage.postgres.database_url(DATABASE), autocommit=True)


def _insert(connection: psycopg.Connection, count: int) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    for chunk in _chunks(ids, 1000):
        connection.execute(INSERT_MANY, [chunk, [json.dumps(ARGUMENTS)] * len(chunk)])
    return ids


def _chunks(items: Sequence, size: int = BATCH) -> list[Sequence]:
    return [items[start : start + size] for start in range(0, len(items), size)]


def _microseconds(step: Callable[[], object]) -> float:
    """Return the mean of the quicker half of the rounds: the least is asked for, not what others disturbed."""
    durations = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        step()
        durations.append(time.perf_counter() - began)
    half = sorted(durations)[: ROUNDS // 2]
    return 1e6 * sum(half) / len(half)


def _hand_over() -> float:
    there, back = queue.SimpleQueue(), queue.SimpleQueue()

    def echo() -> None:
        while (item := there.get()) is not None:
            back.put(item)

    def round_trip() -> None:
        there.put(True)
        back.get()

    threading.Thread(target=echo, daemon=True).start()
    try:
        return _microseconds(round_trip)
    finally:
        there.put(None)
