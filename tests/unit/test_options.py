"""Wrong options of a task are refused where they are written, with what the option takes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from django_jobs.exceptions import InvalidTask
from django_jobs.tasks.options import RULES, UNSET, check_call_options, check_options, check_queue
from tests.app.tasks import note_success

DAY = timedelta(days=1)
LONG = timedelta(days=200 * 365)
NAN, INFINITY = float("nan"), float("inf")

ALLOWED = {
    "priority": [-100, 0, 100],
    "queue_name": ["a", "mail", "a.b-c_9", "9", "_", "x" * 64],
    "run_after": [None, timedelta(0), DAY, datetime(2030, 1, 1, tzinfo=UTC)],
    "max_attempts": [1, 99, None],
    "max_losses": [0, 3],
    "backoff": [None, 0, 1.5, DAY, [1], [1, DAY], (0.5, 2), print],
    "retry_on": [Exception, OSError, (OSError, KeyError), (), KeyboardInterrupt],
    "give_up_on": [Exception, OSError, (OSError, KeyError), ()],
    "timeout": [None, 0.1, 3600, DAY],
    "expires": [None, 0.1, 3600, DAY],
    "keep": [None, 0, 1.5, DAY],
    "metadata": [{}, {"a": [1]}],
    "labels": [[], ["shop.order:17"], ("a", "b"), ["x" * 200]],
    "sensitive": [[], ["pin"], ("pin",), {"pin"}],
    "aliases": [[], ["shop.tasks.old"], ("a.b",)],
    "admin": [True, False, "shop.refund"],
    "capture_logs": [True, False, "DEBUG", "WARNING"],
    "on_success": [None, note_success],
    "on_failure": [None, note_success],
    "on_retry": [None, note_success],
    "atomic": [True, False],
    "takes_context": [True, False],
    "backend": ["default"],
}

REFUSED = {
    "priority": [-101, 101, 1.0, "1", None, True],
    "queue_name": ["", " ", "a b", ".a", "-a", "x" * 65, "ä", "a\n", "a:b", "{a}", None, 1, b"a"],
    "run_after": [-DAY, timedelta(microseconds=-1), LONG, datetime(2030, 1, 1), 5, "tomorrow"],
    "max_attempts": [0, -1, 1.0, "3", True, 2**31],
    "max_losses": [-1, None, 1.0, False, 2**31],
    "backoff": [-1, -DAY, NAN, INFINITY, LONG, [], [1, -1], [[1]], "fast", True],
    "retry_on": [OSError(), "OSError", [OSError], (OSError, 1), object, None],
    "give_up_on": [OSError(), "OSError", [OSError], (OSError, 1), object, None],
    "timeout": [0, -1, timedelta(0), NAN, INFINITY, LONG, "1", True],
    "expires": [0, -1, timedelta(0), NAN, INFINITY, LONG, "1", True],
    "keep": [-1, -DAY, NAN, INFINITY, LONG, "1 d", False],
    "metadata": [None, [], "{}", {"a": {1}}, {1: 1}],
    "labels": ["a", [""], [1], None, {"a"}, ["x" * 201], ["a\0"], ["\ud800"]],
    "sensitive": ["pin", [1], None],
    "aliases": ["shop.tasks.old", ["old"], [1], None],
    "admin": [1, None],
    "capture_logs": [1, None, "LOUD", 30, []],
    "on_success": [1, "tests.app.tasks.note_success", print],
    "on_failure": [1, "tests.app.tasks.note_success", print],
    "on_retry": [1, "tests.app.tasks.note_success", print],
    "atomic": [1, None, "yes"],
    "takes_context": [1, None],
    "backend": [None, 1],
}


def cases(table: dict) -> list:
    return [pytest.param(option, value, id=f"{option}-{value!r:.20}") for option in table for value in table[option]]


@pytest.mark.parametrize(("option", "value"), cases(ALLOWED))
def test_the_option_takes_the_value(option, value):
    check_options("send", {option: value})


@pytest.mark.parametrize(("option", "value"), cases(REFUSED))
def test_the_option_refuses_the_value_and_says_what_it_takes(option, value):
    with pytest.raises(InvalidTask) as refusal:
        check_options("send", {option: value})

    assert str(refusal.value) == f"send: {option} is {value!r}; it must be {RULES[option][1]}."


def test_the_tables_above_name_every_option():
    assert ALLOWED.keys() == REFUSED.keys() == RULES.keys()


@pytest.mark.parametrize("option", RULES)
def test_every_option_may_be_left_to_the_settings(option):
    check_options("send", {option: UNSET})


@given(st.integers())
def test_priorities_go_from_minus_100_to_100(value):
    try:
        check_options("send", {"priority": value})
        taken = True
    except InvalidTask:
        taken = False

    assert taken is (-100 <= value <= 100)


def test_an_unknown_option_is_refused_with_the_nearest_name():
    with pytest.raises(TypeError, match=r'^send: a task has no option "max_atempts"\. Did you mean "max_attempts"\?$'):
        check_options("send", {"max_atempts": 3})


def test_an_unknown_option_that_resembles_none_is_refused_with_all_names():
    with pytest.raises(TypeError, match=r'^send: a task has no option "zzz"\. Options are admin, aliases, atomic, '):
        check_options("send", {"zzz": 3})


CARRIED = {
    "priority", "queue_name", "run_after", "backend", "max_attempts", "max_losses", "timeout", "expires", "metadata",
    "labels",
}  # fmt: skip


@pytest.mark.parametrize("option", sorted(CARRIED))
def test_a_call_may_have_its_own_value_of_what_a_job_carries(option):
    check_call_options("send.using()", {option: ALLOWED[option][0]})


@pytest.mark.parametrize("option", sorted(RULES.keys() - CARRIED))
def test_a_call_may_not_change_what_is_looked_up_on_the_task(option):
    with pytest.raises(TypeError) as refusal:
        check_call_options("send.using()", {option: ALLOWED[option][0]})

    assert str(refusal.value).startswith(f'send.using(): "{option}" belongs to the task, set it in @task(...). A call')


def test_a_call_may_not_have_a_wrong_value():
    with pytest.raises(InvalidTask, match=r"^send\.using\(\): priority is 101; it must be"):
        check_call_options("send.using()", {"priority": 101})


def test_an_unknown_queue_is_refused_with_the_nearest_name(settings):
    settings.DJANGO_JOBS = {"QUEUES": ["default", "high", "payments"]}

    with pytest.raises(InvalidTask) as refusal:
        check_queue("hihg")

    assert str(refusal.value) == 'no queue "hihg". Queues are default, high, payments. Did you mean "high"?'


def test_an_unknown_queue_that_resembles_none_is_refused_with_the_setting_to_change(settings):
    settings.DJANGO_JOBS = {"QUEUES": ["default"]}

    with pytest.raises(InvalidTask) as refusal:
        check_queue("zzz")

    assert str(refusal.value) == 'no queue "zzz". Queues are default. Add it to DJANGO_JOBS["QUEUES"].'


def test_without_a_list_every_queue_may_be_used(settings):
    settings.DJANGO_JOBS = {"QUEUES": []}

    check_queue("zzz")
