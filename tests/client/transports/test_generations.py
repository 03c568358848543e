"""Pools of connections that follow one another, by a clock of the test."""

from random import Random

import pytest

from gomlx.client.transports.generations import Generations
from gomlx.errors import ConnectionFailed

pytestmark = pytest.mark.asyncio


class Pools:
    """Pools that are numbers, from 1 on, and are replaced after 100 seconds."""

    def __init__(self, seed: int = 7) -> None:
        self.now = 0.0
        self.opened = 0
        self.closed: list[int] = []
        self.generations = Generations(
            self.open, self.close, 100.0, lambda: self.now, Random(seed)
        )

    def open(self) -> int:
        self.opened += 1
        return self.opened

    async def close(self, pool: int) -> None:
        self.closed.append(pool)

    async def use(self) -> int:
        async with self.generations.pool() as pool:
            return pool


async def test_a_pool_is_replaced_at_its_age_less_up_to_a_tenth() -> None:
    pools = Pools()
    assert pools.opened == 0
    assert await pools.use() == 1
    pools.now = 89.9
    assert await pools.use() == 1
    pools.now = 100.1
    assert await pools.use() == 2
    assert pools.closed == [1]


async def test_pools_of_a_fleet_are_replaced_at_different_times() -> None:
    fleet = [Pools(seed) for seed in range(50)]
    for pools in fleet:
        await pools.use()
        pools.now = 95.0
    replaced = sum([await pools.use() == 2 for pools in fleet])
    assert 10 < replaced < 40


async def test_an_old_pool_is_closed_after_its_last_request() -> None:
    pools = Pools()
    async with pools.generations.pool() as first:
        async with pools.generations.pool():
            pools.now = 101.0
            assert await pools.use() == 2
        assert pools.closed == []
    assert pools.closed == [first]


async def test_after_close_there_is_no_pool() -> None:
    pools = Pools()
    await pools.use()
    await pools.generations.close()
    assert pools.closed == [1]
    with pytest.raises(ConnectionFailed):
        await pools.use()
