"""The protocol holds in every state that the model can reach, and without any of its parts it does not.

``DJANGO_JOBS_MODEL=deep`` explores larger budgets of faults, on both workers, for some minutes.
"""

from __future__ import annotations

import os
import re
from dataclasses import fields, replace
from functools import cache
from pathlib import Path

import pytest

from . import protocol
from .explore import STUCK, Found, explore
from .protocol import Budget, Parts, Protocol

pytestmark = pytest.mark.once
DEEP = os.environ.get("DJANGO_JOBS_MODEL") == "deep"

WHOLE = Parts()
SCENARIOS = {
    "the client dies": Budget(rollback=1, pusher_dies=1, push_lost=1, body_fails=1, drag=1),
    "deaths": Budget(worker_dies=1, child_dies=1, body_fails=1, pusher_dies=1),
    "a frozen worker": Budget(pause=1, body_fails=1, release_lost=1, worker_dies=1),
    "a frozen worker, replies lost": Budget(pause=1, record_lost=1, claim_lost=1, body_fails=1),
    "replies lost": Budget(take_lost=1, claim_lost=1, record_lost=1, claim_refused=1, body_fails=1),
    "a claim commits late": Budget(claim_cut=1, pause=1),
    "a dead child's last claim": Budget(child_dies=1, late_claim=1, claim_lost=1, body_fails=1),
    "a dead child's taken ids": Budget(child_dies=1, late_take=1, clerk_dies=1, redis_away=1),
    "Redis is wiped": Budget(wipe=1, redis_away=1, worker_dies=1, take_lost=1),
    "Redis fails over": Budget(snapshot=1, epoch_changes=1),
    "Redis fails over, a child dies": Budget(snapshot=1, child_dies=1),
    "Redis fails over, a worker dies": Budget(snapshot=1, worker_dies=1, pause=1),
    "Redis is damaged": Budget(damage=1, wipe=1, pause=1),
    "Redis is full": Budget(full=1, body_fails=1, child_dies=1, take_lost=1),
    "one worker does not see Redis": Budget(blind=1, redis_away=1, body_fails=1, worker_dies=1),
    "a deploy": Budget(unfit=2, postpone_fails=1, cancel=1),
    "atomic bodies": Budget(commit_fails=1, row_locked=1, record_lost=1, child_dies=1),
    "people": Budget(requeue=1, cancel=1, record_lost=1, body_fails=1),
}
DEEP_SCENARIOS = {
    "deaths": Budget(worker_dies=1, child_dies=1, body_fails=1, pusher_dies=1, claim_lost=1, drag=1),
    "a claim commits late": Budget(claim_cut=1, pause=1, child_dies=1, body_fails=1),
    "frozen workers": Budget(pause=2, record_lost=1),
    "a frozen worker, and a slow one": Budget(pause=1, drag=2, release_lost=1, worker_dies=1),
    "a frozen worker and a dead one": Budget(pause=1, worker_dies=1, body_fails=1, release_lost=1, pusher_dies=1),
    "replies lost": Budget(take_lost=2, claim_lost=2, record_lost=1, claim_refused=1, body_fails=1, pusher_dies=1),
    "a dead child's last requests": Budget(
        child_dies=1, late_take=1, late_claim=1, clerk_dies=1, redis_away=1, body_fails=1
    ),
    "Redis is wiped": Budget(wipe=2, redis_away=1, worker_dies=1, take_lost=1, body_fails=1),
    "Redis fails over": Budget(snapshot=1, epoch_changes=1, child_dies=1),
    "Redis fails over, a worker is frozen": Budget(snapshot=1, pause=1, worker_dies=1, body_fails=1),
    "Redis is damaged": Budget(damage=1, wipe=1, blind=1, pause=1),
    "atomic bodies": Budget(commit_fails=1, row_locked=1, body_fails=1, record_lost=1, child_dies=1),
    "people": Budget(requeue=1, cancel=1, record_lost=1, body_fails=1, pause=1),
}

# Each part, a budget in which it matters, and what becomes of the job without it.
ESSENTIAL = {
    "claim_needs_row": (Budget(rollback=1), "RUN BEFORE THE COMMIT, OR AFTER A ROLLBACK"),
    "claim_is_compare_and_set": (Budget(blind=1), "STARTED TWICE FOR ONE CLAIM"),
    "outcome_is_fenced": (Budget(pause=1), "WRITTEN BY ANOTHER"),
    "outcome_only_while_held": (Budget(body_fails=1, record_lost=1), "WRITTEN TWICE"),
    "lost_attempts_count": (Budget(child_dies=1), "MORE STARTS THAN ATTEMPTS"),
    "body_asks_for_lease": (Budget(pause=1), "BEGUN ON A LOST CLAIM"),
    "reconcile": (Budget(pusher_dies=1), STUCK),
    "audit": (Budget(damage=1), STUCK),
    "full_redis_loses_its_epoch": (Budget(full=1), STUCK),
    "rescue": (Budget(worker_dies=1), STUCK),
    "settle": (Budget(child_dies=1), STUCK),
    "self_check": (Budget(claim_lost=1), STUCK),
    "free_takers": (Budget(worker_dies=1), STUCK),
    "dead_children_are_swept": (Budget(child_dies=1, late_claim=1), STUCK),
    "idle_checks_itself_after_errors": (Budget(claim_cut=1), STUCK),
    "way_back_to_queued_raises_claim": (Budget(body_fails=1, record_lost=1), "WRITTEN TWICE"),
    "unfit_is_kept_until_postponed": (Budget(unfit=1, postpone_fails=1), STUCK),
    "atomic_is_recorded_by_its_commit": (Budget(commit_fails=1), "MORE STARTS THAN ATTEMPTS"),
    "atomic_waits_for_the_row": (Budget(row_locked=1), "MORE STARTS THAN ATTEMPTS"),
    "lapse_returns_what_waits": (Budget(pause=1), "BEGUN ON A LOST CLAIM"),
}
# These spare the wait for a sweep: with the sweeps running nothing is wrong without them.
QUICK = {
    "forget_before_record": Budget(body_fails=1),
    "forget_before_release": Budget(drag=1),
    "forget_what_was_not_claimed": Budget(blind=1, body_fails=1),
    "give_back_after_doubt": Budget(take_lost=1),
    "return_taken": Budget(child_dies=1),
}
WITHOUT_SWEEPS = Parts(reconcile=False, audit=False, dead_children_are_swept=False)
# Ways to the same gaps that need other faults.
GAP_WAYS = {
    "a take arrives after the death": ("dead_children_are_swept", Budget(child_dies=1, late_take=1)),
    "the clerk dies with it": ("dead_children_are_swept", Budget(child_dies=1, redis_away=1, clerk_dies=1)),
    "failover to a copy of the same epoch": ("dead_children_are_swept", Budget(child_dies=1, snapshot=1)),
    "a retry by a person is eaten": ("way_back_to_queued_raises_claim", Budget(requeue=1, record_lost=1)),
}


@cache
def run(budget: Budget, parts: Parts = WHOLE, faulty: tuple[int, ...] = (0,)) -> Found:
    return explore(Protocol(budget, parts, faulty))


def without(part: str, parts: Parts = WHOLE) -> Parts:
    return replace(parts, **{part: False})


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_protocol_holds_when(name):
    found = run(SCENARIOS[name])

    assert not found.kind, str(found)


if DEEP:  # takes minutes

    @pytest.mark.parametrize("name", DEEP_SCENARIOS)
    def test_the_protocol_holds_in_the_deep_when(name):
        found = run(DEEP_SCENARIOS[name], faulty=(0, 1) if name == "frozen workers" else (0,))

        assert not found.kind, str(found)


@pytest.mark.parametrize("part", ESSENTIAL)
def test_without_an_essential_part_the_protocol_breaks(part):
    budget, kind = ESSENTIAL[part]

    assert not run(budget).kind, "the fault alone does it"
    found = run(budget, mutant(part))

    assert found.kind == kind, str(found)
    assert len(found.trace) <= 20, str(found)


def mutant(part: str) -> Parts:
    """Return the protocol without a part, and what would hide that."""
    if part == "claim_needs_row":
        return replace(WHOLE, claim_needs_row=False, push_after_commit=False)
    return without(part)


@pytest.mark.parametrize("part", QUICK)
def test_a_part_that_spares_a_wait_is_missed_only_without_the_sweeps(part):
    assert not run(QUICK[part], WITHOUT_SWEEPS).kind
    assert not run(QUICK[part], without(part)).kind

    assert run(QUICK[part], without(part, WITHOUT_SWEEPS)).kind == STUCK


@pytest.mark.parametrize("way", GAP_WAYS)
def test_another_way_leads_to_the_same_gap(way):
    part, budget = GAP_WAYS[way]

    assert not run(budget).kind
    assert run(budget, without(part)).kind


def test_the_epoch_only_makes_a_refill_quick():
    assert not run(Budget(snapshot=1, wipe=1), without("epoch")).kind


def test_every_part_is_left_out_somewhere():
    tried = {*ESSENTIAL, *QUICK, "epoch", "push_after_commit"}

    assert tried == {part.name for part in fields(Parts)}


def test_every_step_of_the_model_happens_somewhere():
    happened = {label for budget in SCENARIOS.values() for label in run(budget).labels}
    templates = set(re.findall(r'Step\(\s*f?"([^"]+)"', Path(protocol.__file__).read_text())) - STEPS_OF_MUTANTS
    missing = {one for one in templates if not any(re.fullmatch(re.sub(r"{\w+}", r"\\d", one), x) for x in happened)}

    assert len(templates) > 50
    assert not missing


STEPS_OF_MUTANTS = {
    "client pushes in its transaction",
    "w{i} starts without a row",
    "w{i} reads, then saves",
    "w{i}'s atomic body finds its row locked, and rolls back",
}
