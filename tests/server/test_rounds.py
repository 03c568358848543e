"""Calls of many peers, a few in each turn of the event loop."""

import asyncio
from collections.abc import Callable
from functools import partial

import pytest

from gomlx.server.rounds import Rounds

pytestmark = pytest.mark.asyncio


class Clock:
    """Time that passes when a call takes it."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def take(self, seconds: float) -> None:
        self.now += seconds


async def turn() -> None:
    """Let one turn end: what it has scheduled is done in the next."""
    await asyncio.sleep(0)


def recorded(found: list[str], name: str) -> Callable[[], None]:
    return partial(found.append, name)


async def test_a_turn_has_so_many_calls_and_the_rest_wait_in_their_order() -> None:
    rounds = Rounds(calls=2)
    found: list[str] = []
    for name in "abcde":
        rounds.call("peer", recorded(found, name))
    assert found == [*"ab"]
    await turn()
    assert found == [*"abcd"]
    rounds.call("peer", recorded(found, "f"))  # behind the one that waits
    await turn()
    assert found == [*"abcdef"]


async def test_a_turn_ends_after_some_time() -> None:
    clock = Clock()
    rounds = Rounds(calls=100, seconds=0.01, clock=clock)
    for _ in range(3):
        rounds.call("peer", partial(clock.take, 0.02))
    assert clock.now == 0.02
    await turn()
    assert clock.now == 0.04


async def test_time_is_there_again_in_the_next_turn() -> None:
    rounds = Rounds(calls=1)
    found: list[str] = []
    for name in "abc":
        rounds.call("peer", recorded(found, name))
        assert found[-1] == name
        await turn()
        await turn()


async def test_a_peer_that_asks_little_does_not_wait_for_one_that_floods() -> None:
    rounds = Rounds(calls=1)
    found: list[str] = []
    for _ in range(100):
        rounds.call("flood", recorded(found, "flood"))
    for name in "xy":
        rounds.call("other", recorded(found, name))
    for _ in range(4):
        await turn()
    assert found == ["flood", "flood", "x", "flood", "y"]


async def test_a_bug_of_one_call_is_not_anothers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rounds = Rounds(calls=1)
    found: list[str] = []
    rounds.call("peer", recorded(found, "a"))
    rounds.call("peer", partial(found.remove, "nothing"))
    rounds.call("peer", recorded(found, "b"))
    await turn()
    await turn()
    assert found == ["a", "b"]
    assert "a bug at a peer's turn" in caplog.text
