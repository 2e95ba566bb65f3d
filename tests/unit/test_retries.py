"""What follows a failed attempt: another one after a pause, or the end."""

from __future__ import annotations

import logging
from datetime import timedelta
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobs.exceptions import Retry, TaskTimeout
from django_jobs.retries import LONGEST_ASKED_PAUSE, LONGEST_PAUSE, default_backoff, pause, pause_before_retry

JOB = SimpleNamespace(id="0197", attempt=2)
BROKEN = [float("nan"), float("inf"), -float("inf"), 10**400, "soon", object(), [1]]


def decided(exception: BaseException | None = None, failures: int = 1, max_attempts: int | None = 3, **rules):
    return pause_before_retry(exception or ValueError(), JOB, failures=failures, max_attempts=max_attempts, **rules)


# Whether


@pytest.mark.parametrize(
    ("failures", "max_attempts", "again"),
    [
        (1, 1, False),
        (1, 2, True),
        (2, 2, False),
        (3, 2, False),
        (1, None, True),
        (1_000_000, None, True),
    ],
)
def test_attempts_are_counted(failures, max_attempts, again):
    assert (decided(failures=failures, max_attempts=max_attempts) is not None) is again


@pytest.mark.parametrize(
    ("exception", "rules", "again"),
    [
        (ValueError(), {}, True),
        (TaskTimeout(), {}, True),
        (SystemExit(), {}, True),
        (KeyboardInterrupt(), {}, True),
        (ValueError(), {"retry_on": OSError}, False),
        (ConnectionError(), {"retry_on": OSError}, True),
        (ConnectionError(), {"retry_on": (KeyError, OSError)}, True),
        (TaskTimeout(), {"retry_on": OSError}, False),
        (TaskTimeout(), {"retry_on": TaskTimeout}, True),
        (SystemExit(), {"retry_on": (Exception, OSError)}, True),
        (ValueError(), {"retry_on": ()}, False),
        (ValueError(), {"give_up_on": ValueError}, False),
        (KeyError(), {"give_up_on": (ValueError, LookupError)}, False),
        (KeyError(), {"give_up_on": ValueError}, True),
        (ConnectionError(), {"retry_on": ConnectionError, "give_up_on": OSError}, False),
        (TaskTimeout(), {"give_up_on": TaskTimeout}, False),
        (Retry(), {"retry_on": OSError}, True),
        (Retry(), {"give_up_on": Exception}, True),
        (Retry(), {"backoff": lambda exception, job: None}, True),
        (ValueError(), {"backoff": lambda exception, job: None}, False),
    ],
)
def test_giving_up_beats_retrying_and_a_raised_retry_beats_both(exception, rules, again):
    assert (decided(exception, **rules) is not None) is again


def test_a_raised_retry_spends_an_attempt():
    assert decided(Retry(after=5), failures=3, max_attempts=3) is None


# How long


@pytest.mark.parametrize(
    ("backoff", "failures", "seconds"),
    [
        (0, 1, 0),
        (2.5, 7, 2.5),
        (timedelta(minutes=2), 1, 120),
        ([1, 10, 60], 1, 1),
        ([1, 10, 60], 2, 10),
        ([1, 10, 60], 3, 60),
        ([1, 10, 60], 50, 60),
        ((timedelta(minutes=1), 3), 1, 60),
        (lambda exception, job: 4, 1, 4),
        (lambda exception, job: timedelta(hours=1), 1, 3600),
        (lambda exception, job: Decimal("1.5"), 1, 1.5),
        (lambda exception, job: -4, 1, 0),
        (lambda exception, job: 1e15, 1, LONGEST_ASKED_PAUSE),
    ],
)
def test_a_backoff_gives_the_pause(backoff, failures, seconds):
    assert decided(backoff=backoff, failures=failures, max_attempts=None) == seconds


def test_a_function_is_told_the_exception_and_the_job():
    error = ValueError("no")

    assert decided(error, backoff=lambda exception, job: 7 if (exception, job.attempt) == (error, 2) else 0) == 7


@pytest.mark.parametrize("answer", BROKEN)
def test_a_function_that_answers_nonsense_is_replaced_by_the_default_with_a_warning(answer, caplog):
    pause = decided(backoff=lambda exception, job: answer)

    assert 2 <= pause <= 3
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert JOB.id in caplog.text


def test_a_function_that_raises_is_replaced_by_the_default_with_a_warning(caplog):
    def broken(exception, job):
        raise KeyError("backoff")

    pause = decided(backoff=broken, failures=2)

    assert 2 <= pause <= 4
    assert "the backoff of job 0197 raised" in caplog.text


@pytest.mark.parametrize(
    ("after", "seconds"),
    [(0, 0), (7, 7), (timedelta(minutes=1), 60), (-3, 0), (timedelta(days=-1), 0), (1e300, LONGEST_ASKED_PAUSE)],
)
def test_a_raised_retry_names_its_own_pause(after, seconds):
    assert decided(Retry(after=after), backoff=99) == seconds


@pytest.mark.parametrize("after", BROKEN)
def test_a_retry_after_nonsense_gets_the_usual_pause_with_a_warning(after, caplog):
    assert decided(Retry(after=after), backoff=99) == 99
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_retry_without_a_pause_gets_the_usual_one():
    assert decided(Retry("please"), backoff=[5, 6], failures=2) == 6


@pytest.mark.parametrize(
    ("failures", "shortest", "longest"),
    [(1, 2, 3), (2, 2, 4), (3, 4, 8), (4, 8, 16), (10, 512, 1024), (12, 1800, 3600), (10**9, 1800, 3600)],
)
def test_the_default_doubles_up_to_an_hour(failures, shortest, longest):
    assert default_backoff(failures, random=lambda: 0.0) == shortest
    assert default_backoff(failures, random=lambda: 1.0) == longest


@given(st.integers(min_value=1, max_value=10**12), st.floats(min_value=0, max_value=1))
def test_the_default_stays_between_two_seconds_and_an_hour(failures, chance):
    assert 2 <= default_backoff(failures, random=lambda: chance) <= LONGEST_PAUSE


@given(st.integers(min_value=1, max_value=40))
def test_the_default_never_shrinks_with_more_failures(failures):
    assert default_backoff(failures, lambda: 0.5) <= default_backoff(failures + 1, lambda: 0.5)


@given(
    st.floats() | st.integers() | st.timedeltas(),
    st.integers(min_value=1, max_value=50),
)
def test_whatever_is_asked_for_the_pause_can_be_added_to_a_date(asked, failures):
    for exception, backoff in [(Retry(after=asked), None), (ValueError(), lambda exception, job: asked)]:
        assert (
            0
            <= pause_before_retry(exception, JOB, failures=failures, max_attempts=None, backoff=backoff)
            <= LONGEST_ASKED_PAUSE
        )


@given(st.lists(st.floats(min_value=0, max_value=1e6), min_size=1), st.integers(min_value=1, max_value=100))
def test_a_list_is_walked_and_its_last_value_repeats(pauses, failures):
    assert pause(pauses, ValueError(), JOB, failures) == (pauses + [pauses[-1]] * 100)[failures - 1]
