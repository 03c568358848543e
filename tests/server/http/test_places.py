"""Which connection makes room for a new one, once all places are taken."""

import asyncio
from collections.abc import Sequence

import pytest

from gomlx.server.http.places import Places
from tests.server.conftest import until
from tests.server.http.conftest import LIMITS, Server
from tests.server.http.messages import EVAL, answers, post, ys

HIT = post(b'{"x":1}')
CROWD = "127.0.0.2"
MOST = LIMITS.connections


class Holder:
    """A connection that waits since a time, or does not wait."""

    def __init__(self, address: str, since: float | None) -> None:
        self.address = address
        self.since = since
        self.is_closed = False

    def waits_since(self) -> float | None:
        return self.since

    def make_room(self) -> None:
        self.since = None
        self.is_closed = True


class Crowded:
    """Places, all of which are taken. now: what its clock shows."""

    def __init__(self, *holders: Holder, proxy: str = "") -> None:
        self.now = 0.0
        self._most = len(holders)
        self._holders = [*holders]
        self.places = Places(self._most, int, proxy.__eq__, lambda: self.now)
        for holder in holders:
            self.places.enter(holder)

    def closed_for(self, newcomer: Holder) -> Sequence[Holder] | None:
        """Return what a new connection closes; None: it finds no room."""
        before = {one for one in self._holders if one.is_closed}
        self.places.enter(newcomer)
        self._holders.append(newcomer)
        if not self.places.has_room(self._most + 1, newcomer):
            return None
        return [one for one in self._holders if one.is_closed and one not in before]


def test_the_one_that_waits_longest_makes_room() -> None:
    a, b, c, d = (Holder(f"{n}", n) for n in (5, 4, 7, 6))
    crowded = Crowded(a, b, c, d)
    found = [crowded.closed_for(Holder(f"new {n}", 9)) for n in range(3)]
    assert found == [[b], [a], [d]]


def test_there_is_room_as_long_as_not_all_places_are_taken() -> None:
    holder = Holder("a", 1)
    places = Places(2, int, bool)
    places.enter(holder)
    assert places.has_room(2, Holder("b", 2))
    assert not holder.is_closed


def test_one_that_is_being_answered_stays() -> None:
    crowded = Crowded(Holder("a", None), Holder("b", None))
    assert crowded.closed_for(Holder("c", 1)) is None


def test_one_that_was_active_meanwhile_stays() -> None:
    a, b, c, d = (Holder(f"{n}", n) for n in (1, 2, 3, 4))
    crowded = Crowded(a, b, c, d)
    assert crowded.closed_for(Holder("new", 9)) == [a]
    b.since = 8  # answered since all were looked at
    c.since = None
    assert crowded.closed_for(Holder("newer", 9)) == [d]


def test_all_are_looked_at_for_a_tenth_of_the_time() -> None:
    class Slow(Holder):
        """One that takes 10 ms to look at."""

        def waits_since(self) -> float | None:
            crowded.now += 0.01
            return self.since

    busy = Slow("a", None)
    crowded = Crowded(busy, Slow("b", None))
    assert crowded.closed_for(Holder("c", None)) is None
    busy.since = 1.0
    crowded.now += 0.15
    assert crowded.closed_for(Holder("d", None)) is None
    crowded.now += 0.06
    assert crowded.closed_for(Holder("e", None)) == [busy]


def test_an_address_with_more_than_half_makes_room_itself() -> None:
    others = [Holder("b", 1), Holder("c", 2)]
    many = [Holder("a", n) for n in (5, 4, None)]
    crowded = Crowded(*others, *many)
    newcomers = [Holder("d", 6), Holder("a", 7), Holder("e", 8)]
    found = [crowded.closed_for(one) for one in newcomers]
    assert found == [[many[1]], [many[0]], [newcomers[1]]]


def test_an_address_with_no_more_than_half_is_as_all_others() -> None:
    many = [Holder("a", 2), Holder("a", 3), Holder("a", 4)]
    other = Holder("b", 1)
    crowded = Crowded(*many, other)
    crowded.places.leave(many[0])
    assert crowded.closed_for(Holder("c", 5)) == [other]


def test_a_trusted_proxy_may_have_more_than_half() -> None:
    other = Holder("b", 1)
    crowded = Crowded(*[Holder("a", n) for n in (2, 3, 4)], other, proxy="a")
    assert crowded.closed_for(Holder("c", 5)) == [other]


def test_who_loses_a_place_is_told_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    crowded = Crowded(*[Holder("a", n) for n in range(3)], Holder("b", 0))
    for now in (1.0, 2.0, 62.0):
        crowded.now = now
        crowded.closed_for(Holder("b", None))
    (first, second) = caplog.messages
    assert "all 4 connections" in first
    assert "of a, which has over half," in first
    assert second


Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def crowd(server: Server, sent: bytes, count: int = MOST - 2) -> list[Streams]:
    """Have one address open many connections, which send something."""
    opened = []
    for _ in range(count):
        reader, writer = await server.connect(CROWD)
        writer.write(sent)
        opened.append((reader, writer))
    return opened


@pytest.mark.asyncio
@pytest.mark.parametrize(
    "sent",
    [b"", HIT, HIT[:20], HIT[:-1], b"POST %b" % EVAL],
    ids=["idle", "answered", "in a head", "in a body", "in a line"],
)
async def test_a_crowd_does_not_lock_others_out(server: Server, sent: bytes) -> None:
    """Others' idle connections stay, and their new ones are answered."""
    kept, keeper = await server.connect()
    keeper.write(HIT)
    assert b" 200 " in await kept.readuntil(b"}}")
    many = await crowd(server, sent)
    await server.receives(len(HIT) + len(sent) * len(many))
    for _ in range(2 * MOST):
        assert ys(await server.talk(HIT)) == [2.0]
        newest, writer = await server.connect(CROWD)
        writer.write(sent)
        many.append((newest, writer))
    keeper.write(HIT)
    assert b" 200 " in await asyncio.wait_for(kept.readuntil(b"}}"), 10)
    for _, writer in [*many, (kept, keeper)]:
        writer.close()


@pytest.mark.asyncio
async def test_the_rest_of_a_request_that_loses_its_place(server: Server) -> None:
    (reader, writer), *others = await crowd(server, HIT[:-1], MOST)
    await server.accepts(MOST)
    await server.receives(MOST * len(HIT[:-1]))
    _, newest = await server.connect()
    losers = [asyncio.create_task(one.read()) for one, _ in [(reader, writer), *others]]
    done, _ = await asyncio.wait(losers, return_when=asyncio.FIRST_COMPLETED)
    ((status, headers, _),) = answers(done.pop().result())
    assert (status, headers["retry-after"]) == (503, "1")
    for one in losers:
        one.cancel()
    for _, each in [(reader, writer), *others]:
        each.close()
    newest.close()


@pytest.mark.asyncio
async def test_idle_connections_make_room_in_the_order_of_their_age(
    server: Server,
) -> None:
    opened = [await server.connect()]
    server.tick(1)
    opened += [await server.connect() for _ in range(MOST - 1)]
    await server.accepts(MOST)
    opened.append(await server.connect())
    assert await asyncio.wait_for(opened[0][0].read(), 10) == b""
    await until(lambda: len(server.connections.open) == MOST)
    for _, writer in opened:
        writer.close()
