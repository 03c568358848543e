"""The parser below redis-py: endless lists, and values that look like one."""

import asyncio
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from redis._parsers import Encoder
from redis.exceptions import InvalidResponse

from gomlx.cache.breaker import BreakerState
from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.parser import BoundedParser, Headers
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.support.redis_servers import server

# Values that hold what an endless list begins with; and such lists.
LOOKALIKES = [
    b"x\r\n*1234567 no list at all",
    b"*1000000000\r\n",
    b"\r\n%1000000\r\n\r\n>999999",
    b"\r\n*100000",
    b"\r\n$3\r\n*1000000\r\n",
]
ENDLESS = [b"*1000000000\r\n", b"%1000000\r\n", b"~1000000\r\n", b"|1000000\r\n"]


def bulk(value: bytes) -> bytes:
    return b"$%d\r\n%b\r\n" % (len(value), value)


def listed(*parts: bytes) -> bytes:
    return b"*%d\r\n" % len(parts) + b"".join(parts)


class Parsing:
    """A parser, fed by hand."""

    def __init__(self) -> None:
        self.stream = asyncio.StreamReader()
        self.parser = BoundedParser(65536)
        encoder = Encoder("utf-8", "strict", False)  # type: ignore[no-untyped-call]
        self.parser.on_connect(SimpleNamespace(_reader=self.stream, encoder=encoder))

    async def replies(self, *pieces: bytes, count: int = 1) -> list[Any]:
        """Feed pieces, each when all before it are read; return so many replies."""
        feeding = asyncio.create_task(self._feed(pieces))
        try:
            return [await self.parser.read_response() for _ in range(count)]
        finally:
            feeding.cancel()

    async def _feed(self, pieces: tuple[bytes, ...]) -> None:
        for piece in pieces:
            self.stream.feed_data(piece)
            while self.stream._buffer:  # type: ignore[attr-defined]
                await asyncio.sleep(0)
        self.stream.feed_eof()


@pytest.mark.asyncio
@pytest.mark.parametrize("value", LOOKALIKES)
async def test_a_value_may_hold_what_a_list_begins_with(value: bytes) -> None:
    """Wherever its reply is cut, and byte by byte."""
    reply = listed(bulk(b"good"), bulk(value), b"$-1\r\n", b":7\r\n", bulk(value))
    expected = [b"good", value, None, 7, value]
    for at in range(1, len(reply)):
        assert await Parsing().replies(reply[:at], reply[at:]) == [expected]
    single = [reply[at : at + 1] for at in range(len(reply))]
    assert await Parsing().replies(*single) == [expected]


@pytest.mark.asyncio
@pytest.mark.parametrize("value", [b"good", *LOOKALIKES])
@pytest.mark.parametrize("endless", ENDLESS)
async def test_an_endless_list_is_found_behind_any_value(
    value: bytes, endless: bytes
) -> None:
    reply = listed(bulk(value), endless)
    for at in range(1, len(reply)):
        with pytest.raises(InvalidResponse, match="longer than requested"):
            await Parsing().replies(reply[:at], reply[at:])
    single = [reply[at : at + 1] for at in range(len(reply))]
    with pytest.raises(InvalidResponse, match="longer than requested"):
        await Parsing().replies(*single)


@pytest.mark.asyncio
@pytest.mark.parametrize("value", LOOKALIKES)
async def test_one_reply_after_the_other_on_a_connection(value: bytes) -> None:
    """Replies that come together, and one more when those have been read."""
    parsing = Parsing()
    both = bulk(value) + listed(bulk(value), b"+OK\r\n")
    for at in range(1, len(both)):
        parsing.stream.feed_data(both[:at])
        task = asyncio.create_task(parsing.parser.read_response())
        await asyncio.sleep(0)
        parsing.stream.feed_data(both[at:])
        assert await task == value
        assert await parsing.parser.read_response() == [value, b"OK"]
    with pytest.raises(InvalidResponse):
        await parsing.replies(b"*1000000000\r\n")


@pytest.mark.asyncio
async def test_replies_longer_than_the_buffer_are_read() -> None:
    value = (LOOKALIKES[0] + b"." * 1000) * 100
    reply = listed(*[bulk(value)] * 50)
    assert await Parsing().replies(reply) == [[value] * 50]
    with pytest.raises(InvalidResponse):
        await Parsing().replies(listed(*[bulk(value)] * 50, ENDLESS[0]))


@pytest.mark.asyncio
async def test_an_endless_line_is_not_read() -> None:
    with pytest.raises(InvalidResponse, match="line"):
        await Parsing().replies(b"+" + b"x" * (2 << 20))


@pytest.mark.parametrize("header", [b"$x\r\n", b"$?\r\n", b"$\r\n", b"\r\n"])
def test_a_value_of_no_length_is_refused(header: bytes) -> None:
    with pytest.raises(InvalidResponse, match="no length"):
        Headers().follow(header)


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.binary(max_size=9) | st.sampled_from(LOOKALIKES), max_size=5),
    st.lists(st.integers(0, 200), max_size=6),
    st.booleans(),
)
def test_headers_are_found_whatever_the_pieces(
    values: list[bytes], cuts: list[int], is_endless: bool
) -> None:
    reply = listed(*map(bulk, values)) + (ENDLESS[0] if is_endless else b"+OK\r\n")
    ends = [0, *sorted(min(cut, len(reply)) for cut in cuts), len(reply)]
    headers = Headers()
    has_raised = False
    try:
        for start, end in pairwise(ends):
            headers.follow(reply[start:end])
    except InvalidResponse:
        has_raised = True
    assert has_raised == is_endless


@pytest.mark.asyncio
async def test_a_value_that_looks_endless_costs_no_other_and_is_deleted(
    tmp_path: Path,
) -> None:
    with server(tmp_path / "redis") as redis:
        redis.execute("SET", "good", "{}")
        redis.execute("SET", "bad", LOOKALIKES[0].decode())
        options = RedisOptions(redis.url, timeout_seconds=5.0, max_connections=2)
        tier = RedisTier(options)
        counts = defaultdict[str, Counter](Counter)
        remote_counts = RemoteCounts(
            lambda metric, outcome: counts[f"{metric} {outcome}"],
            Histogram(SECONDS),
            Gauge(),
        )
        remote = Remote(
            "near", tier, TierLimits(5.0, 60, 1 << 20, 1 << 20, False), remote_counts
        )
        for _ in range(9):
            found = await remote.lookups.get_many(
                [b"good", b"bad"], lambda v: v == b"{}"
            )
            assert found == {b"good": b"{}"}
        assert remote.health.state is BreakerState.CLOSED
        await remote.close()
        assert not redis.execute("EXISTS", "bad")
        assert counts["gomlx_cache_lookups failed"].n == 0
        assert counts["gomlx_cache_lookups bad"].n > 0
