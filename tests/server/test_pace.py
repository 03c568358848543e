"""How much work of one kind a turn of the event loop has time for."""

import asyncio

import pytest

from gomlx.server.pace import Pace

pytestmark = pytest.mark.asyncio


async def test_time_is_spent_until_the_next_turn() -> None:
    pace = Pace(0.01)
    pace.spend(0.006)
    assert not pace.is_spent
    pace.spend(0.006)
    assert pace.is_spent
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not pace.is_spent


async def test_those_who_wait_get_a_turn_each_in_their_order() -> None:
    pace = Pace(0.01)
    found: list[tuple[str, bool]] = []

    async def work(name: str) -> None:
        for _ in range(3):
            await pace.turn()
            found.append((name, pace.is_spent))
            pace.spend(1.0)

    await asyncio.gather(*map(work, "abc"))
    assert [name for name, _ in found] == [*"abcabcabc"]
    assert not any(is_spent for _, is_spent in found)


async def test_one_that_is_cancelled_takes_no_turn() -> None:
    pace = Pace(0.01)
    pace.spend(1.0)
    gone = asyncio.create_task(pace.turn())
    other = asyncio.create_task(pace.turn())
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(other, 10)
