"""Pauses between tries of what fails."""

from __future__ import annotations

from django_jobs.patience import Patience


def test_pauses_double_up_to_the_longest_and_begin_anew_after_a_success():
    patience = Patience(first=0.5, longest=3.0)

    pauses = [patience.failed() for _ in range(5)]
    patience.succeeded()

    assert pauses == [0.5, 1.0, 2.0, 3.0, 3.0]
    assert patience.failed() == 0.5


def test_it_knows_whether_anything_has_failed_since_the_last_success():
    patience = Patience()

    states = [bool(patience)]
    patience.failed()
    states.append(bool(patience))
    patience.succeeded()
    states.append(bool(patience))

    assert states == [False, True, False]
