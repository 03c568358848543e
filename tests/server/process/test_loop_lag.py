"""A blocked event loop is measured."""

import asyncio
from time import perf_counter

import pytest

from gomlx.metrics.declarations import LAG_SECONDS
from gomlx.metrics.instruments import Histogram
from gomlx.server.process.load import BEAT_SECONDS, watch_loop_lag


@pytest.mark.asyncio
async def test_a_block_is_counted_with_its_length() -> None:
    lag = Histogram(LAG_SECONDS)
    watching = asyncio.create_task(watch_loop_lag(lag))
    await asyncio.sleep(0)  # it waits for its first beat
    until = perf_counter() + 0.1
    while perf_counter() < until:
        pass
    while not any(lag.counts):
        await asyncio.sleep(BEAT_SECONDS)
    watching.cancel()
    assert lag.sums.high >= 0.1 - BEAT_SECONDS
