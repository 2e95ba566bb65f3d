"""The table of transitions is the one that the contract draws."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from django_jobs import states

# DESIGN, section 3; postpone and bury are details of release and lose.
DRAWN = {
    "promote": ({"scheduled", "retrying"}, "queued", False),
    "claim": ({"queued"}, "running", False),
    "succeed": ({"running", "queued"}, "succeeded", True),
    "retry": ({"running", "queued"}, "retrying", True),
    "fail": ({"running", "queued"}, "failed", True),
    "lose": ({"running"}, "queued", True),
    "bury": ({"running"}, "failed", True),
    "release": ({"running"}, "queued", True),
    "postpone": ({"running"}, "scheduled", True),
    "stop": ({"running", "queued"}, "cancelled", True),
    "discard": ({"running", "queued"}, "cancelled", True),
    "cancel": ({"scheduled", "queued", "retrying"}, "cancelled", False),
    "expire": ({"scheduled", "queued", "retrying"}, "cancelled", False),
    "requeue": ({"failed", "cancelled", "succeeded"}, "queued", False),
}


def test_the_table_holds_the_drawn_transitions_and_no_others():
    table = {one.name: (set(one.sources), one.target, one.fenced) for one in states.TRANSITIONS}

    assert table == DRAWN
    assert len(states.TRANSITIONS) == len(DRAWN)


def test_every_transition_says_why():
    assert [one.name for one in states.TRANSITIONS if not one.why] == []


def test_a_running_job_leaves_only_by_the_holder_of_its_claim():
    unfenced = [one.name for one in states.TRANSITIONS if "running" in one.sources and not one.fenced]

    assert unfenced == []


def test_every_state_can_be_left():
    assert {source for one in states.TRANSITIONS for source in one.sources} == set(states.STATES)


@pytest.mark.parametrize(
    ("state", "status"),
    [
        ("scheduled", "READY"),
        ("queued", "READY"),
        ("retrying", "READY"),
        ("running", "RUNNING"),
        ("succeeded", "SUCCESSFUL"),
        ("failed", "FAILED"),
        ("cancelled", "FAILED"),
    ],
)
def test_django_has_a_status_for_the_state(state, status):
    assert states.STATUSES[state] == status


def test_the_states_are_seven_and_each_is_waiting_running_or_final():
    assert len(set(states.STATES)) == 7
    assert sorted(states.STATES) == sorted((*states.WAITING, states.RUNNING, *states.FINAL))


def test_a_transition_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        states.CLAIM.target = "failed"
