"""A shared tier as a worker uses it, over real Redis servers."""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import cycle

import pytest

from gomlx.cache import writebehind
from gomlx.cache.breaker import Breaker, BreakerState
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote import Remote, RemoteCounts, TierLimits
from gomlx.cache.tiered import Tiered
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.support.redis_servers import Server, server
from tests.support.relay import Relay
from tests.support.service import state_of

pytestmark = pytest.mark.asyncio
NAMES = [b"gomlx:1:m:v:%032x" % n for n in range(100)]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("redis")) as started:
        yield started


@pytest.fixture
def redis(running: Server) -> Server:
    running.ask("FLUSHALL")
    return running


class Seen:
    """A remote, and what it counted."""

    def __init__(
        self, remote: Remote, counts: dict[str, Counter], state: Gauge
    ) -> None:
        self.remote, self._counts, self.state = remote, counts, state

    @property
    def counts(self) -> dict[str, int]:
        return {name: count.n for name, count in self._counts.items() if count.n}

    async def ask(self, *names: bytes) -> dict[bytes, bytes]:
        found = await self.remote.get_many(names, is_digits)
        return {name: found[name] for name in names if name in found}


def is_digits(value: bytes) -> bool:
    return value.isdigit()


@asynccontextmanager
async def opened(
    url: str,
    deadline: float = 30.0,
    patience: float = 30.0,
    queue: int = 1 << 20,
    read_only: bool = False,
) -> AsyncIterator[Seen]:
    tier = RedisTier(
        url,
        username=None,
        password=None,
        ca_file=None,
        cert_file=None,
        key_file=None,
        timeout_seconds=patience,
        max_connections=8,
    )
    counts: dict[str, Counter] = defaultdict(Counter)
    state = Gauge()

    def counter(metric: str, outcome: str) -> Counter:
        return counts[outcome if "lookups" in metric else f"write {outcome}"]

    limits = TierLimits(deadline, 100.0, 1000, queue, read_only)
    remote = Remote(
        "near", tier, limits, RemoteCounts(counter, Histogram(SECONDS), state)
    )
    try:
        yield Seen(remote, counts, state)
    finally:
        await remote.close()


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def found(ask: Callable[[], Awaitable[object]]) -> None:
    """Ask until there is something: one answer may be too late, on a busy machine."""
    async with asyncio.timeout(30):
        while not await ask():
            await asyncio.sleep(0.005)


class Clock:
    """Time that passes when told."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_names_of_one_turn_go_out_in_one_command(redis: Server) -> None:
    for name in NAMES[::2]:
        redis.ask("SET", name.decode(), "1")
    async with opened(redis.url) as near:
        await near.ask(NAMES[0])  # connected
        before = commands(redis)
        found = await asyncio.gather(*(near.ask(name) for name in NAMES))
        assert [bool(f) for f in found] == [True, False] * 50
        assert commands(redis) - before == 2  # the MGET, and this question
        assert near.counts == {"hit": 51, "miss": 50}


def commands(redis: Server) -> int:
    stats = redis.ask("INFO", "stats")
    return int(stats.split("total_commands_processed:")[1].split()[0])


async def test_what_is_written_is_found_with_its_time_to_live(redis: Server) -> None:
    async with opened(redis.url) as near:
        for name in NAMES:
            near.remote.set(name, b"7", 80.0)
        assert await near.ask(NAMES[3]) == {NAMES[3]: b"7"}  # it waits to be written
        await until(lambda: near.counts.get("write written") == 100)
        lefts = await near.remote.remaining_ttl(NAMES)
        assert all(40.0 < left <= 88.0 for left in lefts)
        assert len(set(lefts)) > 50  # what was written together expires apart


async def test_no_value_lives_longer_than_the_tier_lets_it(redis: Server) -> None:
    async with opened(redis.url) as near:
        near.remote.set(NAMES[0], b"7", 1e6)
        await until(lambda: near.counts.get("write written"))
        assert (await near.remote.remaining_ttl(NAMES[:1]))[0] <= 110


@pytest.mark.parametrize("poison", ["x", "", "1" * 1001, "1\r\n2", "\xff"])
async def test_a_poisoned_value_is_a_miss_and_deleted(
    redis: Server, poison: str
) -> None:
    redis.ask("SET", NAMES[0].decode(), poison)
    redis.ask("SET", NAMES[1].decode(), "1")
    async with opened(redis.url) as near:
        assert await near.ask(*NAMES[:3]) == {NAMES[1]: b"1"}
        assert near.counts == {"hit": 1, "bad": 1, "miss": 1}
        await until(lambda: redis.ask("EXISTS", NAMES[0].decode()) == 0)


async def test_a_value_too_large_to_come_in_time_is_deleted(redis: Server) -> None:
    """Else all who ask for it would be late, again and again."""
    redis.ask("SET", NAMES[0].decode(), "1" * (32 << 20))
    async with opened(redis.url, deadline=0.001, patience=60) as near:
        assert await near.ask(NAMES[0]) == {}
        assert near.counts == {"late": 1}
        await until(lambda: redis.ask("EXISTS", NAMES[0].decode()) == 0)


async def test_what_would_not_be_believed_is_not_written(redis: Server) -> None:
    gone: list[bytes] = []
    async with opened(redis.url) as near:
        near.remote.writes.when_gone = gone.extend
        near.remote.set(NAMES[0], b"1" * 1001, 10)
        near.remote.set(NAMES[1], b"1" * 1000, 10)
        assert gone == [NAMES[0]]
        await until(lambda: near.counts.get("write written"))
        assert near.counts == {"write dropped": 1, "write written": 1}
        assert (await near.ask(*NAMES[:2])).keys() == {NAMES[1]}


async def test_what_waits_to_be_written_is_found_with_what_is_not(
    redis: Server,
) -> None:
    redis.ask("SET", NAMES[0].decode(), "1")
    redis.ask("CONFIG", "SET", "maxmemory", "1")  # so that it is only in the queue
    try:
        async with opened(redis.url) as near:
            await near.ask(NAMES[0])  # connected
            near.remote.set(NAMES[1], b"2", 10)
            assert await near.ask(*NAMES[:3]) == {NAMES[0]: b"1", NAMES[1]: b"2"}
            assert near.counts["miss"] == 1
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")


async def test_a_value_of_another_type_is_a_miss(redis: Server) -> None:
    redis.ask("LPUSH", NAMES[0].decode(), "1")
    async with opened(redis.url) as near:
        assert await near.ask(NAMES[0]) == {}


async def test_the_deadline_releases_those_who_wait(redis: Server) -> None:
    redis.ask("SET", NAMES[0].decode(), "1")
    with Relay(redis.port) as relay:
        async with opened(f"redis://127.0.0.1:{relay.port}/0", deadline=0.05) as near:
            await found(lambda: near.ask(NAMES[0]))  # connecting may take longer
            relay.holds = True
            late = near.counts.get("late", 0)
            while near.counts.get("late", 0) == late:  # the breaker may be open
                assert await near.ask(NAMES[0]) == {}
                await asyncio.sleep(0.005)
            relay.holds = False
            await found(lambda: near.ask(NAMES[0]))


async def test_while_the_breaker_is_open_nothing_is_asked(redis: Server) -> None:
    clock = Clock()
    with Relay(redis.port) as relay:
        async with opened(f"redis://127.0.0.1:{relay.port}/0", deadline=0.01) as near:
            near.remote._breaker = Breaker(clock)
            relay.holds = True
            while near.remote.state is BreakerState.CLOSED:
                assert await near.ask(NAMES[0]) == {}
            assert near.state.value == BreakerState.OPEN
            late = near.counts["late"]
            assert not near.remote.is_usable
            assert await near.ask(*NAMES) == {}
            assert near.counts["late"] == late
            assert near.counts["skipped"] >= 100
            skipped = near.counts["skipped"]
            assert not Tiered(None, [near.remote], 10).asks_further(7)
            assert near.counts["skipped"] == skipped + 7
            relay.holds = False
            clock.now += 60
            assert near.remote.is_usable
            redis.ask("SET", NAMES[0].decode(), "1")
            async with asyncio.timeout(30):
                while not await near.ask(NAMES[0]):
                    clock.now += 60
                    await asyncio.sleep(0.005)
            assert near.state.value == BreakerState.CLOSED
            assert near.remote.problem == ""


async def test_a_single_failure_is_no_news(
    redis: Server, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with opened(redis.url) as near:
        for _ in range(20):
            await near.ask(NAMES[0])
            redis.ask("ACL", "SETUSER", "default", "-mget")
            await near.ask(NAMES[0])
            redis.ask("ACL", "SETUSER", "default", "+mget")
        assert near.counts == {"miss": 20, "failed": 20}
        assert not caplog.messages
        redis.ask("ACL", "SETUSER", "default", "-mget")
        while near.remote.state is BreakerState.CLOSED:
            await near.ask(NAMES[0])
        redis.ask("ACL", "SETUSER", "default", "+mget")
        while near.remote.problem:
            await near.ask(NAMES[0])
            await asyncio.sleep(0.02)
    assert [message.split(":")[1] for message in caplog.messages] == [
        " look-ups fail",
        " look-ups work again",
    ]


async def test_the_state_shows_that_a_try_is_under_way(redis: Server) -> None:
    with Relay(redis.port) as relay:
        async with opened(f"redis://127.0.0.1:{relay.port}/0", deadline=0.03) as near:
            relay.holds = True
            while near.remote.state is BreakerState.CLOSED:
                await near.ask(NAMES[0])
            await until(lambda: near.remote.is_usable)
            trying = asyncio.create_task(near.ask(NAMES[0]))
            async with asyncio.timeout(30):
                while near.state.value != BreakerState.HALF_OPEN:
                    await asyncio.sleep(0)  # in the next turns: before it is too late
            await trying
            assert near.state.value == BreakerState.OPEN


async def test_a_server_that_is_stopped_and_goes_on(redis: Server) -> None:
    redis.ask("SET", NAMES[0].decode(), "1")
    async with opened(redis.url, deadline=0.05, patience=0.3) as near:
        await found(lambda: near.ask(NAMES[0]))
        os.kill(redis.process.pid, signal.SIGSTOP)
        try:
            await until(lambda: state_of(redis.process.pid) == "T")
            while near.remote.state is BreakerState.CLOSED:
                assert await near.ask(NAMES[0]) == {}
        finally:
            os.kill(redis.process.pid, signal.SIGCONT)
        await found(lambda: near.ask(NAMES[0]))


async def test_a_server_that_does_not_exist() -> None:
    async with opened("redis://127.0.0.1:1/0") as near:
        assert await near.ask(NAMES[0]) == {}
        assert near.counts == {"failed": 1}
        near.remote.set(NAMES[0], b"1", 10)
        await until(lambda: near.counts.get("write failed"))
        assert await near.remote.take([NAMES[1]], 1.0) is None
        assert "127.0.0.1:1" in near.remote.problem


async def test_what_cannot_be_written_can_still_be_read(redis: Server) -> None:
    redis.ask("SET", NAMES[0].decode(), "1")
    redis.ask("CONFIG", "SET", "maxmemory", "1")
    try:
        async with opened(redis.url) as near:
            for name in cycle(NAMES[1:]):  # as long as it takes to be refused each
                near.remote.set(name, b"1", 10)
                await asyncio.sleep(0.002)
                if near.counts.get("write dropped"):
                    break
            assert near.counts["write failed"] >= 5
            assert "command not allowed" in near.remote.writes.problem
            assert near.remote.state is BreakerState.CLOSED
            assert await near.ask(NAMES[0]) == {NAMES[0]: b"1"}
            redis.ask("CONFIG", "SET", "maxmemory", "0")
            while not near.counts.get("write written"):
                near.remote.set(NAMES[1], b"1", 10)
                await asyncio.sleep(0.02)
            assert near.remote.writes.problem == ""
    finally:
        redis.ask("CONFIG", "SET", "maxmemory", "0")


async def test_a_full_queue_drops_its_oldest(redis: Server) -> None:
    each = 250 + len(NAMES[0]) + 10  # what Python takes
    async with opened(redis.url, queue=5 * each) as near:
        for name in NAMES:
            near.remote.set(name, b"1234567890", 10)
        assert near.counts == {"write dropped": 95}
        await until(lambda: near.counts.get("write written") == 5)
        assert (await near.ask(*NAMES)).keys() == set(NAMES[95:])


async def test_a_read_only_tier_is_never_written_to(redis: Server) -> None:
    redis.ask("SET", NAMES[0].decode(), "poison")
    gone: list[bytes] = []
    async with opened(redis.url, read_only=True) as near:
        near.remote.writes.when_gone = gone.extend
        near.remote.set(NAMES[1], b"1", 10)
        assert gone == [NAMES[1]]
        assert await near.ask(*NAMES[:2]) == {}
        assert near.counts == {"bad": 1, "miss": 1}
    assert redis.ask("GET", NAMES[0].decode()) == "poison"
    assert redis.ask("EXISTS", NAMES[1].decode()) == 0


async def test_closing_writes_what_waits(
    redis: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writebehind, "_CLOSE_SECONDS", 30.0)
    async with opened(redis.url) as near:
        for name in NAMES:
            near.remote.set(name, b"1", 10)
    assert redis.ask("EXISTS", *(name.decode() for name in NAMES)) == 100


async def test_one_of_many_takes_a_lease(redis: Server) -> None:
    async with opened(redis.url) as near, opened(redis.url) as other:
        assert await near.remote.take(NAMES[:2], 60) == [True, True]
        assert await other.remote.take(NAMES[1:3], 60) == [False, True]
        near.remote.release(NAMES[:2])
        async with asyncio.timeout(30):
            while await other.remote.take(NAMES[:1], 60) != [True]:
                await asyncio.sleep(0.01)


async def test_a_lease_ends_by_itself(redis: Server) -> None:
    async with opened(redis.url) as near, opened(redis.url) as other:
        assert await near.remote.take(NAMES[:1], 0.1) == [True]
        async with asyncio.timeout(30):
            while await other.remote.take(NAMES[:1], 60) != [True]:
                await asyncio.sleep(0.01)


async def test_many_who_wait_for_others_ask_together(redis: Server) -> None:
    """Else a burst of cold rows would miss the deadline by its own weight."""
    async with opened(redis.url) as near:
        await near.ask(NAMES[0])  # connected
        await until(lambda: clients(redis) == 1)  # those of earlier tests have gone
        before = commands(redis)
        takes = [near.remote.take([name], 60) for name in NAMES]
        assert await asyncio.gather(*takes) == [[True]] * 100
        assert clients(redis) == 1
        peeks = [near.remote.peek([name], is_digits) for name in NAMES]
        assert await asyncio.gather(*peeks) == [{}] * 100
        assert commands(redis) - before == 100 + 1 + 2  # and this test's questions


def clients(redis: Server) -> int:
    return str(redis.ask("CLIENT", "LIST")).count("name=gomlx")


async def test_while_a_command_runs_the_next_names_gather(redis: Server) -> None:
    with Relay(redis.port) as relay:
        async with opened(f"redis://127.0.0.1:{relay.port}/0") as near:
            await near.ask(NAMES[0])  # connected
            relay.holds = True
            before = commands(redis)
            peeks = []
            for name in NAMES[:20]:  # in twenty turns
                peek = near.remote.peek([name], is_digits)
                peeks.append(asyncio.create_task(peek))
                await asyncio.sleep(0)
            relay.holds = False
            await asyncio.gather(*peeks)
            assert commands(redis) - before == 2 + 1


async def test_one_late_command_is_one_failure(redis: Server) -> None:
    with Relay(redis.port) as relay:
        url = f"redis://127.0.0.1:{relay.port}/0"
        async with opened(url, deadline=0.05) as near:
            await near.remote.remaining_ttl([NAMES[0]])  # connected, whatever that took
            relay.holds = True
            takes = [near.remote.take([name], 60) for name in NAMES]
            assert await asyncio.gather(*takes) == [None] * 100
            assert near.remote.state is BreakerState.CLOSED


@pytest.mark.parametrize("poison", ["x", "1" * 1001])
async def test_who_waits_for_others_takes_no_poison(redis: Server, poison: str) -> None:
    redis.ask("SET", NAMES[0].decode(), poison)
    async with opened(redis.url) as near:
        assert await near.remote.peek(NAMES[:1], is_digits) == {}
