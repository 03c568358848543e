"""How late the event loop is: whatever blocks it delays every connection."""

import asyncio
from time import perf_counter

from gomlx.metrics.instruments import Histogram

# Whatever blocks the loop for twice as long delays a beat, whenever the block begins.
BEAT_SECONDS = 0.01
_MIN_LAG_SECONDS = 0.001  # less is a timer's own; an idle worker counts nothing


async def watch_loop_lag(lag: Histogram) -> None:
    """Measure how late each beat is, until cancelled; costs 0.05 % of a core."""
    while True:
        due = perf_counter() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        seconds = perf_counter() - due
        if seconds > _MIN_LAG_SECONDS:
            lag.add(seconds)
