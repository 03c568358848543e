"""What blocks the event loop is seen."""

import asyncio
from time import perf_counter

import pytest

from gomlx.metrics.declarations import LAG_SECONDS
from gomlx.metrics.instruments import Histogram
from gomlx.server.process.loop_lag import BEAT_SECONDS, watch


@pytest.mark.asyncio
async def test_a_block_is_counted_with_its_length() -> None:
    late = Histogram(LAG_SECONDS)
    watching = asyncio.create_task(watch(late))
    await asyncio.sleep(0)  # it waits for its first beat
    until = perf_counter() + 0.1
    while perf_counter() < until:
        pass
    while not any(late.counts):
        await asyncio.sleep(BEAT_SECONDS)
    watching.cancel()
    assert late.sums.high >= 0.1 - BEAT_SECONDS
