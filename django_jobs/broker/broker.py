"""Carries ids from the processes that enqueue to the workers, through lists in Redis.

It knows ids, not jobs. A queue has one lane per rank; lower ranks are taken first. What is pushed twice
waits once. All of it may vanish at any time: it is put back from the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import groupby, islice
from pathlib import Path
from typing import Any, NamedTuple

import redis
from redis.exceptions import RedisError, ResponseError

from .script import HastyScript, Script
from .waiter import Waiter

PROTOCOL = 1  # a new format gets a new number, and is filled from the rows
PUSH_CHUNK = 1000  # ids in one call of the script, so that Redis answers others in between
AWAITED = "!"  # a line after the ids that were taken: somebody waits for the end of a job
AWAITED_SECONDS = 30  # that a word about waiting is remembered
TRIAL_MILLISECONDS = 1000  # that what was written as a trial stays
WAIT_SECONDS = 3.0  # what a lost wake-up costs at most
RANKS = -100, 100  # the lowest and the highest that there may be

_SCRIPTS = Path(__file__).parent / "scripts"


class Waiting(NamedTuple):
    """An id and where it waits."""

    queue: str
    rank: int  # lower ranks are taken first
    id: str


class Count(NamedTuple):
    """What Redis holds of a queue; without damage waiting + taken == known."""

    waiting: int
    taken: int
    known: int


class EpochChanged(Exception):
    """Redis is not at the epoch that the database names: it was wiped, restored or failed over."""


def hash_tag(prefix: str) -> str:
    """Return what all our keys begin with; the braces keep them in one slot of a cluster."""
    return f"{{{prefix}:{PROTOCOL}}}"


class Broker:
    """The lists of one prefix in one Redis. Every method may raise ``redis.exceptions.RedisError``."""

    def __init__(self, client: redis.Redis, prefix: str, hasty: redis.Redis | None = None):
        self.client = client
        self._hasty = hasty or client  # for ``push_one``
        self.prefix = hash_tag(prefix)
        scripts = {path.stem: Script(client, path.read_text()) for path in _SCRIPTS.glob("*.lua")}
        self._push_one = HastyScript(self._hasty, (_SCRIPTS / "push.lua").read_text())
        self._push, self._take = scripts["push"], scripts["take"]
        self._give_back, self._count, self._drop = scripts["give_back"], scripts["count"], scripts["drop"]
        self._tell = scripts["tell"]
        self.is_awaited = False  # at the last take: somebody waits for the end of a job

    def key(self, *parts: str) -> str:
        return ":".join((self.prefix, *parts))

    def push(self, waiting: Iterable[Waiting], *, first: bool = False) -> int:
        """Make ids wait in their lanes, in the order given; return how many were not known before.

        ``first``: before all others, for what was taken already and comes back.
        """
        if first:
            waiting = reversed(list(waiting))
        pushed = 0
        for chunk in _chunks(waiting, PUSH_CHUNK):
            args: list[str | int] = ["LPUSH" if first else "RPUSH"]
            for (queue, rank), group in groupby(chunk, key=lambda one: one[:2]):
                ids = [one.id for one in group]
                args += [queue, rank, len(ids), *ids]
            pushed += self._run(self._push, args, {one.queue for one in chunk})
        return pushed

    def push_one(self, one: Waiting) -> None:
        """Do as ``push`` for a single id, without waiting for the answer.

        What is wrong with it is raised by the next call: the one who enqueued could do nothing about it either.
        """
        try:
            self._push_one(keys=[self.prefix], args=["RPUSH", one.queue, one.rank, 1, one.id])
        except ResponseError as error:
            if _is_wrong_type(error):
                self._mend([self._push_one.refused[1]], "")
            raise

    def take(self, taker: str, queues: list[str], count: int, epoch: str = "") -> list[str]:
        """Forget what this taker took before and take up to ``count`` ids; 0 only forgets.

        Raises EpochChanged when Redis is at another epoch; nothing is taken or forgotten then.
        """
        return self.taken(self._run(self._take, [taker, epoch, count, *queues], queues, taker))

    def take_command(self, taker: str, queues: list[str], count: int, epoch: str = "") -> tuple:
        """Return the command that does as ``take``, for a waiter to send along; ``taken`` reads the answer."""
        return self._take.command([self.prefix], [taker, epoch, count, *queues])

    def taken(self, ids: bytes | None) -> list[str]:
        """Return the ids that Redis says were taken; raises EpochChanged."""
        if ids is None:
            raise EpochChanged
        lines = ids.decode(errors="backslashreplace").split("\n") if ids else []
        self.is_awaited = bool(lines) and lines[-1] == AWAITED
        return lines[:-1] if self.is_awaited else lines

    def give_back(self, taker: str) -> int:
        """Put what a taker holds back to the heads of its lanes; return how many ids."""
        return self._run(self._give_back, [taker.encode(errors="surrogateescape")], None, taker)

    def unknown(self, queue: str, ids: list[str]) -> list[str]:
        """Return those of the ids that Redis does not know."""
        if not ids:
            return []
        answers = self._run(lambda keys, args: self.client.smismember(self.key("known", queue), args), ids, [queue])
        return [id for id, known in zip(ids, answers, strict=True) if not known]

    def count(self, queue: str) -> Count:
        return Count(*self._count(keys=[self.prefix], args=[queue]))

    def drop(self, queue: str) -> None:
        """Forget all ids of a queue."""
        self._drop(keys=[self.prefix], args=[queue, *RANKS])

    def clear(self) -> None:
        """Delete every key of ours, whatever it holds."""
        for keys in _chunks(self.client.scan_iter(match=_literally(self.prefix) + ":*", count=1000), 1000):
            self.client.unlink(*keys)

    def queues(self) -> list[str]:
        names = self._read(self.client.smembers, "queues")
        return sorted(name.decode() for name in names if _is_text(name))

    def takers(self) -> list[str]:
        return sorted(name.decode(errors="surrogateescape") for name in self._read(self.client.smembers, "takers"))

    def forget_taker(self, taker: str) -> None:
        name = taker.encode(errors="surrogateescape")
        self.client.unlink(self.key("taken").encode() + b":" + name)
        self.client.srem(self.key("takers"), name)

    def paused(self) -> set[str]:
        return {name.decode(errors="replace") for name in self._read(self.client.smembers, "paused")}

    def set_paused(self, queues: Iterable[str]) -> None:
        """Say which queues are paused; the others are not."""
        queues, before = set(queues), self.paused()
        if queues == before:
            return
        with self.client.pipeline() as pipeline:
            pipeline.delete(self.key("paused"))
            if queues:
                pipeline.sadd(self.key("paused"), *queues)
            for queue in before - queues:
                pipeline.rpush(self.key("wake", queue), "1")  # whoever waits takes what has waited there
            pipeline.execute()

    def epoch(self) -> str:
        return (self._read(self.client.get, "epoch") or b"").decode(errors="replace")

    def set_epoch(self, epoch: str) -> None:
        self.client.set(self.key("epoch"), epoch)

    def forget_epoch(self) -> None:
        """Let nobody take anything until there is an epoch again."""
        self.client.unlink(self.key("epoch"))

    def try_out(self) -> None:
        """Write something that is of no use to anybody; raise what keeps Redis from taking it."""
        self.client.set(self.key("trial"), "", px=TRIAL_MILLISECONDS)

    def await_end(self, id: str) -> None:
        """Say that somebody waits for the end of a job; forgotten after a while, so say it again."""
        with self.client.pipeline() as pipeline:
            pipeline.set(self.key("awaited", id), "1", ex=AWAITED_SECONDS)
            pipeline.set(self.key("awaited"), "1", ex=AWAITED_SECONDS)
            pipeline.execute()

    def tell_ended(self, ids: list[str]) -> None:
        """Leave a token for whoever waits for the end of one of these jobs."""
        self._tell(keys=[self.prefix], args=ids)

    def waiter(self) -> Waiter:
        return Waiter(self.client, WAIT_SECONDS)

    def wake_keys(self, queues: list[str], *, new: bool = False) -> list[str]:
        """Return what to wait on for work of these queues; ``new``: and for queues that are not known yet."""
        return [*(self.key("wake", queue) for queue in queues), *([self.key("wake")] if new else [])]

    def is_of_new_queues(self, key: bytes) -> bool:
        """Say whether a wake-up was for a queue that nobody knew yet."""
        return key == self.key("wake").encode()

    def wake(self, key: bytes) -> None:
        """Pass a wake-up on that came to somebody who has no use for it."""
        self.client.rpush(key, "1")

    def _run(self, script: Callable[..., Any], args: list, queues: Iterable[str] | None, taker: str = "") -> Any:
        """Run a script about these queues, None: any. Where a value of another type is in its way, that is not ours:
        it goes, and all is filled anew.
        """
        try:
            return script(keys=[self.prefix], args=args)
        except ResponseError as error:
            if _is_wrong_type(error):
                self._mend(queues, taker)
            raise

    def _mend(self, queues: Iterable[str] | None, taker: str) -> None:
        self.client.unlink(self.key("epoch"))
        for look in (self.queues, self.takers, self.paused):
            look()  # each mends itself
        if taker:
            self.forget_taker(taker)
        for queue in self.queues() if queues is None else queues:
            self.drop(queue)

    def _read(self, command: Callable[[str], Any], name: str) -> Any:
        """Return what a key of ours holds. A value of another type is not ours: it goes, and all is filled anew."""
        try:
            return command(self.key(name))
        except ResponseError as error:
            if not _is_wrong_type(error):
                raise
            self.client.unlink(self.key(name), self.key("epoch"))
            return command(self.key(name))

    def close(self) -> None:
        for client in (self.client, self._hasty):
            client.connection_pool.disconnect()


def _is_wrong_type(error: ResponseError) -> bool:
    return "WRONGTYPE" in str(error)  # Redis 6 puts the line of the script before it


def _is_text(name: bytes) -> bool:
    return b"\0" not in name and name == name.decode(errors="ignore").encode()


def _chunks(items: Iterable, size: int) -> Iterator[list]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


def _literally(text: str) -> str:
    """Return a SCAN pattern that matches exactly this text."""
    return "".join(f"\\{letter}" if letter in r"*?[]\^" else letter for letter in text)


__all__ = ["Broker", "Count", "EpochChanged", "RedisError", "Waiter", "Waiting"]
