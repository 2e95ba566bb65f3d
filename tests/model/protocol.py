"""A model of the protocol as it is built: one job, two workers with a child each, and all that can go wrong.

Every step is one statement of the database, one script of Redis, or one thing in a process's memory. Each
names the code that it stands for. What holds the protocol together is a switch of ``Parts``, so that the
tests can leave it out and see what becomes of the job.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from django_jobs import states
from django_jobs.states import QUEUED, RETRYING, RUNNING, SCHEDULED, SUCCEEDED

from .explore import Step

UNCOMMITTED, PUSHING, GONE = "in its transaction", "committed", "gone"  # the client
UP, PAUSED, DEAD = "up", "paused", "dead"  # a worker, all of its processes

# What a child does with the job.
IDLE = "idle"
TAKEN = "taken"  # has its id
CLAIMED = "claimed"  # holds it; waits for a body
CLEARED = "cleared"  # a body has asked whether it may start, and may
SURPRISED = "surprised"  # ... and was frozen between asking and starting: no lease can help there
BODY = "in its body"
RETURNED = "returned"  # a body did not start it
LIMBO = "limbo"  # held, and handed to nobody
WELL, BADLY = "ended well", "ended badly"  # its outcome is not recorded yet

HOLDING = (CLAIMED, CLEARED, SURPRISED, BODY, RETURNED, LIMBO, WELL, BADLY)
STARTED = (BODY, WELL, BADLY)

WIPED = -1  # no epoch
MAX_LOSSES = 1


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What holds the protocol together; a mutant lacks one."""

    push_after_commit: bool = True
    claim_needs_row: bool = True
    claim_is_compare_and_set: bool = True
    outcome_is_fenced: bool = True
    outcome_only_while_held: bool = True
    lost_attempts_count: bool = True
    body_asks_for_lease: bool = True
    reconcile: bool = True
    audit: bool = True
    rescue: bool = True
    settle: bool = True
    self_check: bool = True
    free_takers: bool = True
    return_taken: bool = True
    forget_before_record: bool = True
    forget_before_release: bool = True
    forget_what_was_not_claimed: bool = True
    give_back_after_doubt: bool = True
    epoch: bool = True
    dead_children_are_swept: bool = True
    idle_checks_itself_after_errors: bool = True
    way_back_to_queued_raises_claim: bool = True
    unfit_is_kept_until_postponed: bool = True
    atomic_is_recorded_by_its_commit: bool = True
    atomic_waits_for_the_row: bool = True
    lapse_returns_what_waits: bool = True
    full_redis_loses_its_epoch: bool = True


class Budget(NamedTuple):
    """How often each fault, or each act of a person, may happen."""

    rollback: int = 0
    body_fails: int = 0
    pusher_dies: int = 0  # between COMMIT and push
    worker_dies: int = 0
    pause: int = 0
    child_dies: int = 0
    clerk_dies: int = 0
    redis_away: int = 0
    blind: int = 0  # a worker does not see Redis while others do
    wipe: int = 0
    snapshot: int = 0  # and its return, later
    epoch_changes: int = 0
    full: int = 0  # Redis refuses what would need memory
    damage: int = 0  # a lane vanishes by itself: evicted, or deleted by somebody
    take_lost: int = 0  # replies
    push_lost: int = 0
    claim_lost: int = 0
    claim_cut: int = 0  # its connection is cut; it commits later
    record_lost: int = 0
    release_lost: int = 0
    claim_refused: int = 0
    late_take: int = 0  # a dead child's last request is done after its death
    late_claim: int = 0
    drag: int = 0  # the body before it lasts
    unfit: int = 0  # the worker does not know the task
    postpone_fails: int = 0
    commit_fails: int = 0  # of an atomic body
    row_locked: int = 0  # by somebody, while an atomic body is recorded
    requeue: int = 0
    cancel: int = 0


class Row(NamedTuple):
    """The job in the database."""

    state: str
    claim: int = 0
    taker: int | None = None  # worker and slot
    attempt: int = 0
    failures: int = 0
    losses: int = 0
    cancel: bool = False  # requested


class Worker(NamedTuple):
    """A worker's processes and its row."""

    up: str = UP
    doing: str = IDLE
    claim: int = 0
    lease: bool = True  # it counts as alive, by the database and by its own table
    lost: bool = False  # declared so, in its row
    child: int = 0  # 1: the second one
    must_check: bool = False
    doubtful: bool = False
    epoch: int = 0  # as it knows it
    dead: tuple[str, int] | None = None  # what the dead child held: stage and claim; not settled yet
    parted: bool = False  # its taken ids are to be put back


class State(NamedTuple):
    """Everything there is. ``taken`` is by taker: worker 0's first and second child, worker 1's."""

    budget: Budget
    client: str = UNCOMMITTED
    row: Row | None = None
    pushing: bool = False  # some process has committed, and pushes next
    redis: bool = True
    full: bool = False
    lane: int = 0
    taken: tuple[int, int, int, int] = (0, 0, 0, 0)
    known: bool = False
    redis_epoch: int = 0
    database_epoch: int = 0
    copy: tuple | None = None  # an older Redis
    late: tuple[str, int] | None = None  # a request on its way, and its taker
    workers: tuple[Worker, Worker] = (Worker(), Worker())
    starts: int = 0
    begun: frozenset[int] = frozenset()  # claims whose body has begun
    written: frozenset[int] = frozenset()  # claims whose outcome is recorded
    wrong: str = ""

    def __str__(self) -> str:
        return told(self)


def told(one: tuple) -> str:
    """Return what differs from the defaults."""
    values = one._asdict() | {"budget": None}
    shown = {name: value for name, value in values.items() if value != one._field_defaults.get(name)}
    return ", ".join(f"{name}: {_told_value(value)}" for name, value in shown.items())


def _told_value(value) -> str:
    if hasattr(value, "_fields"):
        return f"({told(value)})"
    if isinstance(value, tuple):
        return f"({'; '.join(map(_told_value, value))})"
    return str(value)


def put(items: tuple, index: int, item) -> tuple:
    return (*items[:index], item, *items[index + 1 :])


def spend(state: State, fault: str) -> State:
    return state._replace(budget=state.budget._replace(**{fault: getattr(state.budget, fault) - 1}))


def taker_of(state: State, i: int) -> int:
    return 2 * i + state.workers[i].child


def change(state: State, i: int, /, **values) -> State:
    if values.get("doing") in (IDLE, TAKEN):
        values["claim"] = 0  # it holds nothing: no need to tell such states apart
    return state._replace(workers=put(state.workers, i, state.workers[i]._replace(**values)))


# Redis: broker/scripts/


def push(state: State) -> State:
    if state.known:
        return state
    return state._replace(lane=state.lane + 1, known=True)


def forget(state: State, taker: int) -> State:
    if not state.taken[taker]:
        return state
    return state._replace(taken=put(state.taken, taker, 0), known=False)


def take(state: State, taker: int) -> State:
    state = forget(state, taker)
    if not state.lane:
        return state
    return state._replace(lane=state.lane - 1, taken=put(state.taken, taker, 1))


def give_back(state: State, taker: int) -> State:
    return state._replace(lane=state.lane + state.taken[taker], taken=put(state.taken, taker, 0))


def drop(state: State) -> State:
    return state._replace(lane=0, taken=(0, 0, 0, 0), known=False)


# The database: moves.py


def set_row(state: State, /, **values) -> State:
    return state._replace(row=state.row._replace(**values))


def is_held(state: State, claim: int, sources: tuple[str, ...]) -> bool:
    return state.row is not None and state.row.claim == claim and state.row.state in sources


def is_run_by(state: State, *takers: int) -> bool:
    """Say what held_by says: the row is running, and belongs to one of these."""
    return state.row is not None and state.row.state == RUNNING and state.row.taker in takers


def queue(state: State, /, **values) -> State:
    """Set a held job back to queued, to be pushed after the commit; cancel it if somebody asked."""
    if state.row.cancel:
        return set_row(state, state=states.CANCELLED, taker=None, **values)
    return set_row(state, state=QUEUED, taker=None, **values)._replace(pushing=True)


def release(state: State, claim: int) -> State:
    if not is_held(state, claim, states.RELEASE.sources):
        return state
    return queue(state, attempt=state.row.attempt - 1)


def lose(state: State, claim: int, parts: Parts) -> State:
    if not is_held(state, claim, states.LOSE.sources):
        return state
    attempt = state.row.attempt - (not parts.lost_attempts_count)
    if state.row.losses >= MAX_LOSSES:
        return set_row(state, state=states.BURY.target, taker=None, attempt=attempt)
    return queue(state, losses=state.row.losses + 1, attempt=attempt)


class Protocol:
    """The steps that are possible in a state."""

    def __init__(self, budget: Budget, parts: Parts, faulty: tuple[int, ...] = (0,)):
        self._budget = budget
        self._parts = parts
        self._faulty = faulty  # workers that faults happen to

    def start(self) -> State:
        return State(budget=self._budget)

    def wrong(self, state: State) -> str:
        row = state.row
        if state.wrong or row is None:
            return state.wrong
        if state.starts > row.attempt:
            return "MORE STARTS THAN ATTEMPTS"
        if row.state == SUCCEEDED and not state.starts:
            return "SUCCEEDED WITHOUT A START"
        return ""

    def is_good_end(self, state: State) -> bool:
        """The job is final or never was, Redis has forgotten it, nobody is at it."""
        at_rest = not (state.known or state.lane or any(state.taken) or state.pushing or state.late)
        final = state.row is None or state.row.state in states.FINAL
        nobody = all(worker.up == DEAD or (worker.up, worker.doing) == (UP, IDLE) for worker in state.workers)
        return at_rest and final and nobody and state.client == GONE

    def steps(self, state: State) -> Iterator[Step]:
        if state.wrong:
            return
        yield from self._client(state)
        yield from self._person(state)
        yield from self._redis(state)
        yield from self._late(state)
        for i, worker in enumerate(state.workers):
            if worker.up == UP:
                yield from self._child(state, i, worker)
                yield from self._clerk(state, i, worker)
            else:
                yield from self._absent(state, i, worker)
            if i in self._faulty and worker.up != DEAD:
                yield from self._faults(state, i, worker)
            yield from self._others_judge(state, i, worker)
        if any(worker.up == UP for worker in state.workers):
            yield from self._chores(state)

    # Who enqueues, and other people: enqueue.py

    def _client(self, s: State) -> Iterator[Step]:
        if s.client == UNCOMMITTED:
            committed = s._replace(client=GONE, row=Row(QUEUED), pushing=self._parts.push_after_commit)
            yield Step("client commits", committed, False)
            if s.budget.rollback:
                yield Step("client rolls back", s._replace(client=GONE), False)
            if not self._parts.push_after_commit and not s.known:
                yield Step("client pushes in its transaction", push(s), False)
        if s.pushing:
            done = s._replace(pushing=False)
            takes_in = s.redis and not s.full
            yield Step("push" if takes_in else "push fails", push(done) if takes_in else done, False)
            if s.budget.pusher_dies:
                yield Step("the process dies before its push", spend(done, "pusher_dies"), True)
            if s.budget.push_lost and takes_in:
                yield Step("push, and its reply is lost: pushed again", push(push(spend(done, "push_lost"))), True)

    def _person(self, s: State) -> Iterator[Step]:
        if s.row is None:
            return
        if s.budget.requeue and s.row.state in states.REQUEUE.sources:
            values = {"failures": 0, "losses": 0, "cancel": False, "claim": self._fenced_off(s.row)}
            requeued = set_row(spend(s, "requeue"), state=QUEUED, taker=None, **values)
            yield Step("a person retries the job", requeued._replace(pushing=True), True)
        if s.budget.cancel and s.row.state in states.CANCEL.sources:
            yield Step("a person cancels", set_row(spend(s, "cancel"), state=states.CANCELLED), True)
        if s.budget.cancel and s.row.state == RUNNING and not s.row.cancel:
            yield Step("a person wants it stopped", set_row(spend(s, "cancel"), cancel=True), True)

    def _fenced_off(self, row: Row) -> int:
        """Return the claim of a job on its way back to queued: whose outcome is recorded must not write again."""
        return row.claim + self._parts.way_back_to_queued_raises_claim

    # Redis as a server

    def _redis(self, s: State) -> Iterator[Step]:
        contents = {"lane": 0, "taken": (0, 0, 0, 0), "known": False, "redis_epoch": WIPED}
        if not s.redis:
            yield Step("Redis is back", s._replace(redis=True), False)
        elif s.budget.redis_away:
            yield Step("Redis goes away", spend(s, "redis_away")._replace(redis=False), True)
        if s.full:
            yield Step("Redis has room again", s._replace(full=False), True)
        elif s.budget.full:
            yield Step("Redis is full", spend(s, "full")._replace(full=True), True)
        if s.budget.wipe:
            yield Step("Redis is wiped", spend(s, "wipe")._replace(**contents), True)
        if s.budget.snapshot and s.copy is None:
            copy = tuple(getattr(s, name) for name in contents)
            yield Step("Redis is copied", s._replace(copy=copy), True)
        if s.budget.snapshot and s.copy is not None:
            restored = spend(s, "snapshot")._replace(copy=None, **dict(zip(contents, s.copy, strict=True)))
            yield Step("Redis fails over to the copy", restored, True)
        if s.budget.damage and s.lane:
            yield Step("the lane vanishes", spend(s, "damage")._replace(lane=0), True)

    def _late(self, s: State) -> Iterator[Step]:
        """What somebody has asked for who has died, or has given up waiting, is done now."""
        if s.late is None:
            return
        request, taker = s.late
        done = s._replace(late=None)
        if request == "take" and s.redis:
            yield Step("the late take arrives", take(done, taker), False)
        if request == "claim":
            row = s.row
            if row.state in states.CLAIM.sources:
                values = {"state": RUNNING, "claim": row.claim + 1, "attempt": row.attempt + 1}
                done = set_row(done, taker=taker, **values)
            yield Step("the late claim commits", done, False)

    # A child: worker/source.py, worker/engine.py, worker/recorder.py

    def _child(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        yield from self._check_itself(s, i, w)
        if w.must_check and w.doing != BODY and self._parts.self_check:
            return  # before anything else
        match w.doing:
            case "idle" if w.lease:
                yield from self._take(s, i, w)
            case "taken":
                yield from self._claim(s, i, w)
            case "claimed" | "cleared" | "surprised":
                yield from self._begin(s, i, w)
            case "in its body":
                yield from self._end(s, i)
            case "returned":
                yield from self._return(s, i, w)
            case "ended well" | "ended badly":
                yield from self._record(s, i, w)

    def _check_itself(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Engine._give_back_unknown: after each error of the database, and every ten seconds."""
        if not self._parts.self_check:
            return
        mine = is_run_by(s, taker_of(s, i))
        unknown = mine and not (w.doing in HOLDING and w.claim == s.row.claim)
        regularly = w.doing in HOLDING or self._parts.idle_checks_itself_after_errors
        if w.must_check or (unknown and regularly):
            checked = change(s, i, must_check=False)
            yield Step(f"w{i} checks itself", release(checked, s.row.claim) if unknown else checked, False)

    def _take(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Source.take: from Redis; from the rows if it is away or at another epoch."""
        taker = taker_of(s, i)
        agrees = w.epoch == s.redis_epoch or not self._parts.epoch
        if not s.redis:
            yield from self._take_from_rows(s, i)
        elif not agrees:
            knows = change(s, i, epoch=s.database_epoch, doubtful=False)
            if knows != s:
                yield Step(f"w{i} reads the epoch", knows, False)
            yield from self._take_from_rows(knows, i)
        elif w.doubtful and self._parts.give_back_after_doubt:
            yield Step(f"w{i} gives back what it may have", give_back(change(s, i, doubtful=False), taker), False)
        elif s.lane or s.taken[taker]:
            doing = TAKEN if s.lane else IDLE
            took = take(s, taker)
            yield Step(f"w{i} takes", change(took, i, doing=doing, doubtful=False), False)
            if s.budget.take_lost:
                yield Step(f"w{i} takes, reply lost", change(spend(took, "take_lost"), i, doubtful=True), True)
        if s.budget.blind and s.redis:
            for step in self._take_from_rows(spend(s, "blind"), i):
                yield step._replace(label=f"w{i} does not see Redis, takes from the rows", fault=True)

    def _take_from_rows(self, s: State, i: int) -> Iterator[Step]:
        if s.row is not None and s.row.state == QUEUED:
            yield Step(f"w{i} takes from the rows", change(s, i, doing=TAKEN), False)

    def _claim(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """moves.claim, and what Engine._claim does with ids that it does not get."""
        row = s.row
        if row is None and not self._parts.claim_needs_row:
            yield Step(f"w{i} starts without a row", change(s, i, doing=CLEARED, claim=0), False)
        elif row is not None and not self._parts.claim_is_compare_and_set and row.state in (QUEUED, RUNNING):
            read = set_row(s, state=RUNNING, taker=taker_of(s, i), attempt=row.attempt + 1)
            yield Step(f"w{i} reads, then saves", change(read, i, doing=CLAIMED, claim=row.claim), False)
        elif row is None or row.state not in states.CLAIM.sources:
            yield Step(f"w{i} gets nothing", self._forget_unclaimed(change(s, i, doing=IDLE), i), False)
        else:
            claim = row.claim + 1
            claimed = set_row(s, state=RUNNING, claim=claim, taker=taker_of(s, i), attempt=row.attempt + 1)
            yield Step(f"w{i} claims", change(claimed, i, doing=CLAIMED, claim=claim), False)
            if s.budget.claim_lost:
                lost = change(spend(claimed, "claim_lost"), i, doing=IDLE, must_check=True)
                yield Step(f"w{i} claims, reply lost", lost, True)
            if s.budget.claim_cut:
                cut = change(spend(s, "claim_cut"), i, doing=IDLE, must_check=True)
                cut = cut._replace(late=("claim", taker_of(s, i)))
                yield Step(f"w{i} claims, the connection is cut", cut, True)
        if s.budget.claim_refused:
            refused = change(spend(s, "claim_refused"), i, doing=IDLE, must_check=True)
            yield Step(f"w{i} claims, refused", refused, True)

    def _forget_unclaimed(self, s: State, i: int) -> State:
        if s.redis and self._parts.forget_what_was_not_claimed:
            return forget(s, taker_of(s, i))
        return s

    def _begin(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Engine._start, then Child._run_bodies."""
        if w.doing == CLAIMED:
            if w.lease or not self._parts.body_asks_for_lease:
                yield Step(f"w{i} may start", change(s, i, doing=CLEARED), False)
            else:
                yield Step(f"w{i} may not start", change(s, i, doing=RETURNED), False)
            if s.budget.drag:
                dragged = change(spend(s, "drag"), i, doing=RETURNED)
                yield Step(f"w{i} gives back what waits behind a long body", dragged, False)
            if s.budget.unfit:
                yield from self._postpone(spend(s, "unfit"), i, w)
        else:
            begun = s._replace(starts=s.starts + 1, begun=s.begun | {w.claim}, wrong=self._wrong_start(s, w))
            yield Step(f"w{i} starts the body", change(begun, i, doing=BODY), False)

    def _wrong_start(self, s: State, w: Worker) -> str:
        if s.row is None:
            return "RUN BEFORE THE COMMIT, OR AFTER A ROLLBACK"
        if w.claim in s.begun:
            return "STARTED TWICE FOR ONE CLAIM"
        if w.claim in s.written:
            return "BEGUN AFTER ITS OUTCOME"
        if w.doing != SURPRISED and not is_held(s, w.claim, (RUNNING,)):
            return "BEGUN ON A LOST CLAIM"
        return ""

    def _postpone(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Engine._postpone, when the worker does not know the task."""
        postponed = s
        if is_held(s, w.claim, states.POSTPONE.sources):
            state = states.CANCELLED if s.row.cancel else SCHEDULED
            postponed = set_row(s, state=state, taker=None, attempt=s.row.attempt - 1)
        yield Step(f"w{i} postpones", change(postponed, i, doing=IDLE), True)
        if s.budget.postpone_fails:
            doing = RETURNED if self._parts.unfit_is_kept_until_postponed else LIMBO
            failed = change(spend(s, "postpone_fails"), i, doing=doing, must_check=True)
            yield Step(f"w{i} postpones, the database is away", failed, True)

    def _end(self, s: State, i: int) -> Iterator[Step]:
        """The body returns, raises, or is atomic and commits its outcome with its effects (executor.attempt)."""
        yield Step(f"w{i}'s body returns", change(s, i, doing=WELL), False)
        bad = change(s, i, doing=BADLY)
        if s.budget.body_fails:
            yield Step(f"w{i}'s body raises", spend(bad, "body_fails"), False)
        if s.budget.commit_fails:
            after = bad if self._parts.atomic_is_recorded_by_its_commit else change(s, i, doing=IDLE)
            yield Step(f"w{i}'s atomic body fails at its COMMIT", spend(after, "commit_fails"), True)
        if s.budget.row_locked and not self._parts.atomic_waits_for_the_row:
            left = spend(change(s, i, doing=IDLE), "row_locked")
            yield Step(f"w{i}'s atomic body finds its row locked, and rolls back", left, True)

    def _return(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Engine._release."""
        if s.redis and s.taken[taker_of(s, i)] and self._parts.forget_before_release:
            yield Step(f"w{i} forgets", forget(s, taker_of(s, i)), False)
            return
        released = release(s, w.claim)
        yield Step(f"w{i} releases", change(released, i, doing=IDLE), False)
        if s.budget.release_lost:
            lost = spend(released, "release_lost")._replace(pushing=s.pushing)
            yield Step(f"w{i} releases, reply lost", change(lost, i, must_check=True), True)

    def _record(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """Engine._record: forget, then moves.record; what is not answered is written again."""
        if s.redis and s.taken[taker_of(s, i)] and self._parts.forget_before_record:
            yield Step(f"w{i} forgets", forget(s, taker_of(s, i)), False)
            return
        accepted = self._is_accepted(s, w)
        recorded = self._write_outcome(s, w) if accepted else s
        yield Step(
            f"w{i} records" if accepted else f"w{i}'s outcome is refused", change(recorded, i, doing=IDLE), False
        )
        if s.budget.record_lost and accepted:
            lost = change(spend(recorded, "record_lost"), i, must_check=True)
            yield Step(f"w{i} records, reply lost", lost, True)

    def _is_accepted(self, s: State, w: Worker) -> bool:
        transition = states.SUCCEED if w.doing == WELL else states.RETRY
        sources = transition.sources if self._parts.outcome_only_while_held else states.STATES
        claim = w.claim if self._parts.outcome_is_fenced else s.row.claim
        return is_held(s, claim, sources)

    def _write_outcome(self, s: State, w: Worker) -> State:
        wrong = "WRITTEN TWICE" if w.claim in s.written else ""
        if s.row.claim != w.claim:
            wrong = "WRITTEN BY ANOTHER"
        s = s._replace(wrong=wrong, written=s.written | {w.claim})
        if w.doing == WELL:
            return set_row(s, state=SUCCEEDED)
        state = states.CANCELLED if s.row.cancel else RETRYING
        return set_row(s, state=state, failures=s.row.failures + 1)

    # The clerk: worker/clerk.py

    def _clerk(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        if not w.lease or w.lost:
            lapsed = not w.lease and w.doing == CLAIMED and self._parts.lapse_returns_what_waits
            beaten = change(s, i, lease=True, lost=False, doing=RETURNED if lapsed else w.doing)
            yield Step(f"w{i} beats", beaten, False)
        if w.dead and self._parts.settle:
            yield Step(f"w{i} settles the death", self._settle(s, i, w), False)
        if w.parted and s.redis and self._parts.return_taken:
            yield Step(f"w{i} puts back what it had taken", give_back(change(s, i, parted=False), 2 * i), False)
        if w.child and not w.dead and self._parts.dead_children_are_swept:
            if s.taken[2 * i] and s.redis:
                yield Step(f"w{i} sweeps its dead child's ids", give_back(s, 2 * i), False)
            if is_run_by(s, 2 * i):
                yield Step(f"w{i} sweeps its dead child's jobs", release(s, s.row.claim), False)

    def _settle(self, s: State, i: int, w: Worker) -> State:
        """Clerk.settle: record what had ended well, lose what else had started, release what had not."""
        stage, claim = w.dead
        told = w._replace(doing=stage, claim=claim)
        if stage == WELL and self._is_accepted(s, told):
            s = self._write_outcome(s, told)
        elif stage == "started":
            s = lose(s, claim, self._parts)
        if is_run_by(s, 2 * i):
            s = release(s, s.row.claim)
        return change(s, i, dead=None, parted=True)

    # What happens to a worker

    def _absent(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        if w.up == PAUSED:
            yield Step(f"w{i} goes on", change(s, i, up=UP), False)
        if w.lease:
            yield Step(f"w{i}'s lease is over", change(s, i, lease=False), False)

    def _faults(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        if s.budget.worker_dies:
            dead = Worker(up=DEAD, lease=w.lease, lost=w.lost, child=w.child)
            yield Step(f"w{i} dies", spend(s._replace(workers=put(s.workers, i, dead)), "worker_dies"), True)
        if w.up != UP:
            return
        if s.budget.pause:
            doing = SURPRISED if w.doing == CLEARED else w.doing
            yield Step(f"w{i} is frozen", change(spend(s, "pause"), i, up=PAUSED, doing=doing), True)
        if s.budget.child_dies and w.child == 0:
            yield from self._child_dies(spend(s, "child_dies"), i, w)
        if s.budget.clerk_dies and w.parted:
            yield Step(f"w{i}'s clerk dies", change(spend(s, "clerk_dies"), i, parted=False), True)

    def _child_dies(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """The supervisor starts another; shared memory tells whether the body had begun."""
        fresh = {"doing": IDLE, "child": 1, "must_check": False, "doubtful": False, "epoch": s.database_epoch}
        died = change(s, i, dead=("started" if w.doing in STARTED else "not started", w.claim), **fresh)
        yield Step(f"w{i}'s child dies", died, True)
        if w.doing == WELL:  # ... and, if it had no value to return, also that it ended well
            yield Step(f"w{i}'s child dies, its success is known", change(died, i, dead=(WELL, w.claim)), True)
        if s.budget.late_take and w.doing == IDLE and w.lease:
            late = spend(died, "late_take")._replace(late=("take", 2 * i))
            yield Step(f"w{i}'s child dies, a take on its way", late, True)
        if s.budget.late_claim and w.doing == TAKEN and s.row is not None:
            late = spend(died, "late_claim")._replace(late=("claim", 2 * i))
            yield Step(f"w{i}'s child dies, a claim on its way", late, True)

    # Chores: scheduler/

    def _others_judge(self, s: State, i: int, w: Worker) -> Iterator[Step]:
        """scheduler/rescue.py and Reconcile._free_takers, done by the other worker."""
        if s.workers[1 - i].up != UP or not s.workers[1 - i].lease:
            return
        runs = is_run_by(s, 2 * i, 2 * i + 1)
        if self._parts.rescue and not w.lease and (runs or not w.lost):
            judged = change(s, i, lost=True)
            yield Step(f"w{i} is rescued", lose(judged, s.row.claim, self._parts) if runs else judged, False)
        if self._parts.free_takers and w.lost and s.redis:
            for taker in (2 * i, 2 * i + 1):
                if s.taken[taker]:
                    yield Step(f"taker {taker} is freed", give_back(s, taker), False)

    def _chores(self, s: State) -> Iterator[Step]:
        if s.row is not None and s.row.state in states.PROMOTE.sources:
            promoted = set_row(s, state=QUEUED, claim=self._fenced_off(s.row))
            yield Step("promote", promoted._replace(pushing=True), False)
        if not s.redis:
            return
        if s.full:
            yield from self._full(s)
        elif s.redis_epoch != s.database_epoch and self._parts.epoch:
            yield Step("refill", drop(s)._replace(redis_epoch=s.database_epoch), False)
        elif s.budget.epoch_changes:
            changed = spend(s, "epoch_changes")._replace(database_epoch=s.database_epoch + 1)
            yield Step("the epoch changes", changed._replace(redis_epoch=s.database_epoch + 1), False)
            yield Step("the epoch changes in the database only", changed, True)
        if self._parts.reconcile and s.row is not None and s.row.state == QUEUED and not s.known and not s.full:
            yield Step("reconcile", push(s), False)
        if self._parts.audit and s.lane + sum(s.taken) != s.known:
            yield Step("audit", drop(s), False)

    def _full(self, s: State) -> Iterator[Step]:
        """Reconcile._withdraw, and a refill that comes no further than emptying."""
        if not self._parts.full_redis_loses_its_epoch:
            return
        if s.redis_epoch != WIPED:
            yield Step("the epoch is withdrawn", s._replace(redis_epoch=WIPED), False)
        elif (dropped := drop(s)) != s:
            yield Step("a full Redis is emptied", dropped, False)
