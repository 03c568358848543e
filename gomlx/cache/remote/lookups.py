"""Look-ups in a shared tier: joined, bounded in time, validated and counted.

Names that are looked up in one turn of the event loop go out in one command. Deadlines
missed and commands failed open the circuit breaker; while it is open, look-ups are
skipped and cost nothing.
"""

import asyncio
from collections.abc import Collection, Mapping
from time import perf_counter
from typing import Protocol

from gomlx.cache.queue import ByteBoundedQueue
from gomlx.cache.remote.commands import Commands, completes_within
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.joiner import CommandJoiner
from gomlx.cache.remote.validation import IsAnswer, Validator
from gomlx.errors import TierFailed

_MAX_RUNNING = 8


class FindsNames(Protocol):
    """Look-ups in one shared tier."""

    async def get_many(
        self, names: Collection[bytes], is_answer: IsAnswer, /
    ) -> Mapping[bytes, bytes]:
        """Return the values of names (and of others) that come before the deadline."""

    def skip(self, rows: int, /) -> None:
        """Count rows that are not looked up."""


class _Lookup:
    """The names of one command, and what its callers wait for."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.names: dict[bytes, IsAnswer] = {}
        self.found: asyncio.Future[dict[bytes, bytes]] = loop.create_future()


class Lookups:
    """Looks names up in one shared tier, those of many callers with one command.

    queue: the values that are still to be written. For one thread: the event loop's.
    """

    def __init__(
        self,
        commands: Commands,
        validator: Validator,
        queue: ByteBoundedQueue[int],
        counts: RemoteCounts,
    ) -> None:
        self._commands = commands
        self._health = commands.health
        self._validator = validator
        self._queue = queue
        self._counts = counts
        self._unsent: _Lookup | None = None
        self._running = 0

    async def get_many(
        self, names: Collection[bytes], is_answer: IsAnswer
    ) -> Mapping[bytes, bytes]:
        """Return the values of names (and of others) that come before the deadline.

        A value that is_answer refuses is deleted, and a miss.
        """
        queued = self._queue.find(names)
        names = [name for name in names if name not in queued]
        if not names:
            return queued
        if self._unsent is None:
            if self._running >= _MAX_RUNNING or not self._health.allows():
                self.skip(len(names))
                return queued
            loop = asyncio.get_running_loop()
            self._unsent = _Lookup(loop)
            loop.call_soon(self._send)
        self._unsent.names.update(dict.fromkeys(names, is_answer))
        return queued | await asyncio.shield(self._unsent.found)

    def skip(self, rows: int) -> None:
        """Count rows that are not looked up."""
        self._counts.skipped.n += rows

    def _send(self) -> None:
        lookup = self._unsent
        self._unsent = None
        assert lookup is not None
        self._running += 1
        self._commands.tasks.start(self._look_up(lookup))
        self._commands.tasks.start(self._limit(lookup))

    async def _look_up(self, lookup: _Lookup) -> None:
        started = perf_counter()
        try:
            values = await self._commands.tier.get_many(list(lookup.names))
        except TierFailed as error:
            if not lookup.found.done():
                self._counts.failed.n += len(lookup.names)
                self._give_up(lookup, str(error))
            return
        finally:
            self._running -= 1
        self._counts.seconds.add(perf_counter() - started)
        found, bad = self._validator.sort(lookup.names, values)
        if bad:  # also when it is too late: their size may be why
            self._validator.reject(bad)
        if lookup.found.done():
            return
        self._counts.hit.n += len(found)
        self._counts.miss.n += len(lookup.names) - len(found) - len(bad)
        self._counts.bad.n += len(bad)
        self._health.succeeded()
        lookup.found.set_result(found)

    async def _limit(self, lookup: _Lookup) -> None:
        """Let the callers continue when the deadline has passed."""
        deadline_seconds = self._commands.deadline_seconds
        if await completes_within(deadline_seconds, lookup.found):
            return
        self._counts.late.n += len(lookup.names)
        self._give_up(lookup, f"no answer in {deadline_seconds * 1000:g} ms")

    def _give_up(self, lookup: _Lookup, problem: str) -> None:
        self._health.failed(problem)
        lookup.found.set_result({})


class Polls:
    """Look-ups for values that another process is about to write; not counted."""

    def __init__(self, commands: Commands, validator: Validator) -> None:
        self._commands = commands
        self._validator = validator
        self._joiner = CommandJoiner(self._get_many, commands.tasks)

    async def get_many(
        self, names: Collection[bytes], is_answer: IsAnswer
    ) -> dict[bytes, bytes]:
        """Return those values that are there by now."""
        values = await self._joiner.submit(names) or {}
        found = {name: values.get(name) for name in names}
        is_valid = self._validator.is_valid
        return {n: v for n, v in found.items() if v and is_valid(v, is_answer)}

    async def _get_many(
        self, names: list[bytes]
    ) -> Mapping[bytes, bytes | None] | None:
        return await self._commands.bounded(names, self._commands.tier.get_many(names))
