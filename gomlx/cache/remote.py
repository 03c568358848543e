"""A shared tier as one worker uses it: bounded in time, in memory and in patience.

Names asked for in one turn of the event loop go out together. Whoever asked waits for
the tier's deadline and no longer; the command itself may end later, so that a
connection that takes long to make is made once. Deadlines missed and commands failed
open a circuit breaker: while it is open the tier costs nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from functools import partial
from math import inf
from time import perf_counter
from typing import Any

from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.cache.gather import Gather, ends_within
from gomlx.cache.tasks import Tasks
from gomlx.cache.tier import SharedTier
from gomlx.cache.writebehind import WriteBehind, WriteCounts
from gomlx.errors import TierFailed
from gomlx.metrics.instruments import Counter, Gauge, Histogram

log = logging.getLogger(__name__)

_LOOKUPS_AT_ONCE = 8


@dataclass(frozen=True)
class TierLimits:
    """What one shared tier may take. Values over max_value_bytes are not believed."""

    deadline_seconds: float
    ttl_seconds: float
    max_value_bytes: int
    queue_bytes: int
    is_read_only: bool


class RemoteCounts:
    """What became of look-ups and writes. counter: (metric, outcome) → count."""

    def __init__(
        self, counter: Callable[[str, str], Counter], seconds: Histogram, state: Gauge
    ) -> None:
        self.hit, self.miss, self.late, self.bad, self.failed, self.skipped = (
            counter("gomlx_cache_lookups", outcome)
            for outcome in ("hit", "miss", "late", "bad", "failed", "skipped")
        )
        self.writes = WriteCounts(counter)
        self.seconds, self.state = seconds, state


IsValue = Callable[[bytes], bool]


class _Lookup:
    """The names that one command asks for, and who waits for its outcome."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.names: dict[bytes, IsValue] = {}
        self.found: asyncio.Future[dict[bytes, bytes]] = loop.create_future()


class Remote:
    """For one thread: the event loop's. problem: why look-ups fail, while they do."""

    def __init__(
        self, name: str, tier: SharedTier, limits: TierLimits, counts: RemoteCounts
    ) -> None:
        self.name, self.problem = name, ""
        self.writes = WriteBehind(name, tier, limits.queue_bytes, counts.writes)
        self._tier, self._limits, self._counts = tier, limits, counts
        self._breaker = Breaker()
        self._lookup: _Lookup | None = None  # not sent yet
        self._running = 0
        self._has_said_bad = self._is_given_up = False  # and that was said
        self._tasks = Tasks()
        self._start = self._tasks.start
        self._peeks = Gather(self._peek, self._start)
        self._takes: dict[int, Gather[bool]] = {}  # by milliseconds, one a model or so

    @property
    def is_usable(self) -> bool:
        """True when asking may be worth it."""
        return self._breaker.may_allow

    @property
    def state(self) -> BreakerState:
        """The state of the breaker of look-ups."""
        return self._breaker.state

    async def get_many(
        self, names: Collection[bytes], is_value: IsValue
    ) -> Mapping[bytes, bytes]:
        """Return what is known of names (and of others) before the deadline.

        What is_value does not admit is deleted, and a miss.
        """
        waiting = self.writes.waiting(names)
        names = [name for name in names if name not in waiting]
        if not names:
            return waiting
        if self._lookup is None:
            if self._running >= _LOOKUPS_AT_ONCE or not self._breaker.allows():
                self.skip(len(names))
                return waiting
            loop = asyncio.get_running_loop()
            self._lookup = _Lookup(loop)
            loop.call_soon(self._send)
        self._lookup.names.update(dict.fromkeys(names, is_value))
        return waiting | await asyncio.shield(self._lookup.found)

    def skip(self, rows: int) -> None:
        """Count rows that are not looked up here."""
        self._counts.skipped.n += rows

    def set(
        self, name: bytes, value: bytes, seconds: float, at_most: float = inf
    ) -> None:
        """Have a value written, soon, for about so long, or the tier's time to live.

        at_most is exact: what has so long to live elsewhere may not live longer here.
        """
        if self._limits.is_read_only:
            self.writes.when_gone((name,))
        elif len(value) > self._limits.max_value_bytes:
            self.writes.drop((name,))
        else:
            seconds = min(seconds, self._limits.ttl_seconds)
            self.writes.put(name, value, seconds, at_most)

    async def remaining_ttl(self, names: Collection[bytes]) -> list[float]:
        """Return for how many seconds each value will be known; 0 if that fails."""
        times = await self._tried(self._tier.remaining_ttl(list(names)))
        return [t / 1000 for t in times or [0] * len(names)]

    async def peek(
        self, names: Collection[bytes], is_value: IsValue
    ) -> dict[bytes, bytes]:
        """Look again for what somebody else may have written by now; not counted."""
        values = await self._peeks.ask(names) or {}
        found = {name: values.get(name) for name in names}
        return {n: v for n, v in found.items() if v and self._is_good(v, is_value)}

    async def take(self, names: Collection[bytes], seconds: float) -> list[bool] | None:
        """Take leases that nobody holds; None when the tier cannot tell."""
        milliseconds = max(1, int(seconds * 1000))
        if milliseconds not in self._takes:
            run = partial(self._take, milliseconds)
            self._takes[milliseconds] = Gather(run, self._start)
        taken = await self._takes[milliseconds].ask(names)
        return None if taken is None else [taken[name] for name in names]

    def release(self, names: Collection[bytes]) -> None:
        """Give leases back."""
        self._start(self._tried(self._tier.delete(list(names))))

    async def close(self) -> None:
        """Write what waits, and let go of the connections."""
        await self.writes.close()
        self._tasks.cancel()
        await self._tried(self._tier.close())

    def _send(self) -> None:
        lookup, self._lookup = self._lookup, None
        assert lookup is not None
        self._running += 1
        self._counts.state.value = self.state  # the one try of a half-open breaker
        self._start(self._look_up(lookup))
        self._start(self._limit(lookup))

    async def _look_up(self, lookup: _Lookup) -> None:
        started = perf_counter()
        try:
            values = await self._tier.get_many(list(lookup.names))
        except TierFailed as error:
            if not lookup.found.done():
                self._counts.failed.n += len(lookup.names)
                self._give_up(lookup, str(error))
            return
        finally:
            self._running -= 1
        self._counts.seconds.add(perf_counter() - started)
        found, bad = self._sorted(lookup.names, values)
        if bad:  # also when it is too late: their size may be why
            self._forget(bad)
        if lookup.found.done():
            return
        self._counts.hit.n += len(found)
        self._counts.miss.n += len(lookup.names) - len(found) - len(bad)
        self._counts.bad.n += len(bad)
        self._breaker.succeeded()
        self._note("")
        lookup.found.set_result(found)

    def _sorted(
        self, names: Mapping[bytes, IsValue], values: Collection[bytes | None]
    ) -> tuple[dict[bytes, bytes], list[bytes]]:
        """Return the hits, and the names of what is no answer."""
        found, bad = {}, []
        for (name, is_value), value in zip(names.items(), values, strict=True):
            if value is None:
                continue
            if self._is_good(value, is_value):
                found[name] = value
            else:
                bad.append(name)
        return found, bad

    def _is_good(self, value: bytes, is_value: IsValue) -> bool:
        return len(value) <= self._limits.max_value_bytes and is_value(value)

    def _forget(self, names: list[bytes]) -> None:
        level = logging.DEBUG if self._has_said_bad else logging.WARNING
        self._has_said_bad = True  # once is enough; the metrics count them
        log.log(
            level,
            "%s: %d values are no answers, such as that of %s",
            self.name,
            len(names),
            names[0].decode(errors="replace"),
        )
        if not self._limits.is_read_only:
            self._start(self._tried(self._tier.delete(names)))

    async def _limit(self, lookup: _Lookup) -> None:
        """Let those who wait go on when the deadline has passed."""
        if await ends_within(self._limits.deadline_seconds, lookup.found):
            return
        self._counts.late.n += len(lookup.names)
        milliseconds = self._limits.deadline_seconds * 1000
        self._give_up(lookup, f"no answer in {milliseconds:g} ms")

    def _give_up(self, lookup: _Lookup, problem: str) -> None:
        self._fail(problem)
        lookup.found.set_result({})

    def _fail(self, problem: str) -> None:
        self._breaker.failed()
        self._note(problem)

    def _note(self, problem: str) -> None:
        """Say once that the tier is left alone, and once that it works again."""
        self._counts.state.value = self.state
        self.problem = problem
        if self.state is BreakerState.OPEN and not self._is_given_up:
            log.warning("%s: look-ups fail: %s", self.name, problem)
            self._is_given_up = True
        elif self.state is BreakerState.CLOSED and self._is_given_up:
            log.info("%s: look-ups work again", self.name)
            self._is_given_up = False

    async def _peek(self, names: list[bytes]) -> Mapping[bytes, bytes | None] | None:
        return await self._bounded(names, self._tier.get_many(names))

    async def _take(
        self, milliseconds: int, names: list[bytes]
    ) -> Mapping[bytes, bool] | None:
        return await self._bounded(names, self._tier.take(names, milliseconds))

    async def _bounded(
        self, names: list[bytes], work: Coroutine[Any, Any, Any]
    ) -> Mapping[bytes, Any] | None:
        """Each name's outcome of a command; None if there is none by the deadline."""
        if self.state is not BreakerState.CLOSED:
            work.close()
            return None
        task = self._start(_outcome(work))
        if not await ends_within(self._limits.deadline_seconds, task):
            # The command goes on: cancelled, it would take its connection with it.
            self._fail("no answer in time")
            return None
        outcome = task.result()
        if isinstance(outcome, TierFailed):
            self._fail(str(outcome))
            return None
        return dict(zip(names, outcome, strict=True))

    async def _tried(self, work: Coroutine[Any, Any, Any]) -> Any:
        """The outcome of a command that nobody depends on; None if it failed."""
        try:
            return await work
        except TierFailed as error:
            log.debug("%s: %s", self.name, error)
            return None


async def _outcome(work: Coroutine[Any, Any, Any]) -> Any:
    try:
        return await work
    except TierFailed as error:
        return error
