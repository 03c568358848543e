"""How late the event loop is: whatever blocks it delays every connection."""

import asyncio
from time import perf_counter

from gomlx.metrics.instruments import Histogram

# What blocks the loop for twice as long is late by more than this, whenever it begins.
BEAT_SECONDS = 0.01
_LATE_SECONDS = 0.001  # less is a timer's own; an idle worker counts nothing


async def watch(late: Histogram) -> None:
    """Note each beat that comes too late, and by how much; 0.05 % of a core."""
    while True:
        due = perf_counter() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        seconds = perf_counter() - due
        if seconds > _LATE_SECONDS:
            late.add(seconds)
