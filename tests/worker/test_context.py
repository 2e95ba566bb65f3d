"""What a body says of itself: progress, and lines of a log."""

from __future__ import annotations

import asyncio
import json

import pytest

from django_jobs import InvalidTask, NotEncodable, TaskContext, states, task
from django_jobs.models import Job
from django_jobs.models.job import LOG_LENGTH
from tests.app import tasks
from tests.app.models import Effect
from tests.services import wait_for


def context(**values) -> TaskContext:
    return TaskContext(Job(task_path="x", attempt=1, **values))


def said(context: TaskContext) -> tuple:
    return tuple(json.loads(context.take_progress()).values())


@pytest.mark.once
def test_what_is_tracked_counts_when_it_is_done_with():
    one = context()

    steps = [(row, said(one)) for row in one.track("ab", text="letters")]

    assert steps == [("a", (0, 2, "letters")), ("b", (1, 2, "letters"))]
    assert said(one) == (2, 2, "letters")


@pytest.mark.once
@pytest.mark.parametrize(
    ("rows", "total", "expected"), [(iter("ab"), None, None), (iter("ab"), 2, 2), ([1, 2], 4, 4), ([], None, 0)]
)
def test_the_total_is_known_given_or_unknown(rows, total, expected):
    one = context()

    list(one.track(rows, total))

    assert said(one)[1] == expected


@pytest.mark.once
def test_what_comes_asynchronously_is_tracked_too():
    one = context()

    async def rows():
        yield "a"
        yield "b"

    async def body():
        return [row async for row in one.track(rows(), 2)]

    assert asyncio.run(body()) == ["a", "b"]
    assert said(one) == (2, 2, "")


@pytest.mark.django_db
def test_rows_of_a_queryset_are_counted_by_the_database(django_assert_num_queries):
    Effect.objects.bulk_create(Effect(key=str(n)) for n in range(3))
    one = context()

    with django_assert_num_queries(2):
        list(one.track(Effect.objects.iterator(), Effect.objects.count()))
    with django_assert_num_queries(2):
        assert len(list(one.track(Effect.objects.all()))) == 3

    assert said(one) == (3, 3, "")


@pytest.mark.once
@pytest.mark.parametrize("done", [float("nan"), object(), 10**5000], ids=["nan", "object", "digits"])
def test_progress_that_cannot_be_stored_is_refused_where_it_is_said(done):
    with pytest.raises(NotEncodable):
        context().progress(done)


@pytest.mark.once
def test_a_log_holds_the_last_lines_whatever_they_are():
    one = context()

    for number in range(1000):
        one.log(f"line {number} \0 \ud800 {'x' * 2000 if number == 999 else ''}")

    lines = one.take_log().splitlines()
    assert len(lines) == 200
    assert lines[0].endswith(r"line 800 \x00 \ud800")
    assert len(lines[-1]) < 1100
    assert one.take_log() is None


@pytest.mark.once
def test_lines_that_could_not_be_written_come_before_the_next():
    one = context()
    one.log("first")
    one.put_back(one.take_log())
    one.log("second")

    assert [line[20:] for line in one.take_log().splitlines()] == ["first", "second"]


@pytest.mark.once
def test_capture_logs_takes_the_name_of_a_level():
    with pytest.raises(InvalidTask, match="capture_logs is 'LOUD'; it must be True, False, or the name of a level"):
        task(capture_logs="LOUD")(tasks.add.func)


# With a worker


@pytest.mark.django_db(transaction=True)
def test_what_bodies_log_is_kept_with_the_job_over_all_attempts(burst):
    job = tasks.log_lines.enqueue(3)
    quiet = tasks.log_by_logging.enqueue("not asked for")

    burst("--threads", "2")

    job.refresh()
    quiet.refresh()
    lines = ["line 0", "line 1", "line 2"]
    assert [line[20:] or line for line in job.log_lines] == [*lines, "Attempt 2", *lines]
    assert (job.state, quiet.state, quiet.log, quiet.log_lines) == (states.SUCCEEDED, states.SUCCEEDED, None, [])


@pytest.mark.django_db(transaction=True)
def test_a_long_log_keeps_its_end(burst):
    job = tasks.log_lines.enqueue(190, "x" * 900)

    burst()

    job.refresh()
    assert len(job.log) == LOG_LENGTH
    assert job.log_lines[-1].endswith("line 189" + "x" * 900)
    assert all(" line " in line for line in job.log_lines)


@pytest.mark.django_db(transaction=True)
def test_what_is_logged_by_logging_is_kept_where_the_task_asks_for_it(burst):
    job, other = tasks.log_by_logging_captured.enqueue("hello"), tasks.log_by_logging_captured.enqueue("world")
    in_async = tasks.log_by_logging_async.enqueue("async")

    process = burst("--threads", "2")

    for one, word in ((job, "hello"), (other, "world"), (in_async, "async")):
        one.refresh()
        assert [line[20:] for line in one.log_lines] == [f"WARNING tests.app.tasks: {word}"]
    assert "hello" in process.output  # as before, where no logging is set up


@pytest.mark.django_db(transaction=True)
def test_a_log_is_there_while_the_body_runs(worker):
    job = tasks.log_until.enqueue("go on")
    worker()

    def has_line() -> bool:
        job.refresh()
        return bool(job.log_lines)

    wait_for(has_line, 20, "a line of the log")
    assert job.state == states.RUNNING
    Effect.objects.create(key="go on")
    assert job.wait(20).state == states.SUCCEEDED
