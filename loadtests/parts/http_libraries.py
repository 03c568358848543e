"""The cost of one POST with each HTTP library.

    python -m loadtests.parts.http_libraries URL

URL is that of a running service with a model `m` that has one number, x, as its input.
Every library that is installed sends the same row over one kept connection. Libraries
alternate, so that other load on the machine affects all alike. Prints medians in
microseconds: of wall time, one request after the other, and of this process's CPU time,
for asynchronous libraries with 16 requests at once.
"""

import asyncio
import statistics
import sys
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from time import perf_counter, process_time

from loadtests.parts.http_senders import ASYNC, AT_ONCE, SYNC, AsyncSend, Send

_ROUNDS = 9
_CALLS = 96


@dataclass
class Times:
    """Of one library: seconds of each round's calls."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{_median_us(self.wall):7.0f} us wall{_median_us(self.cpu):7.0f} us CPU"


def _median_us(seconds: list[float]) -> float:
    return statistics.median(seconds) / _CALLS * 1e6


def report(text: str) -> None:
    """Print a line."""
    print(text)  # noqa: T201


def time_sync(url: str) -> None:
    """Print the times of blocking libraries."""
    with ExitStack() as stack:
        senders: dict[str, Send] = {}
        for name, opened in SYNC.items():
            try:
                senders[name] = stack.enter_context(opened(url))
            except ImportError:
                report(f"{name}: not installed")
        times = {name: Times() for name in senders}
        for _ in range(_ROUNDS):
            for name, send in senders.items():
                _time_calls(send, times[name])
    for name, found in times.items():
        report(f"sync  {name:20}{found}")


def _time_calls(send: Send, times: Times) -> None:
    assert b'"ok"' in send()
    started = perf_counter()
    started_cpu = process_time()
    for _ in range(_CALLS):
        send()
    times.wall.append(perf_counter() - started)
    times.cpu.append(process_time() - started_cpu)


async def time_async(url: str) -> None:
    """Print the times of asynchronous libraries."""
    async with AsyncExitStack() as stack:
        senders: dict[str, AsyncSend] = {}
        for name, opened in ASYNC.items():
            try:
                senders[name] = await stack.enter_async_context(opened(url))
            except ImportError:
                report(f"{name}: not installed")
        times = {name: Times() for name in senders}
        for _ in range(_ROUNDS):
            for name, send in senders.items():
                await _time_async_calls(send, times[name])
    for name, found in times.items():
        report(f"async {name:20}{found} at {AT_ONCE}")


async def _time_async_calls(send: AsyncSend, times: Times) -> None:
    assert b'"ok"' in await send()
    started = perf_counter()
    await _repeat(send, _CALLS)
    times.wall.append(perf_counter() - started)
    started_cpu = process_time()
    each = _CALLS // AT_ONCE
    await asyncio.gather(*(_repeat(send, each) for _ in range(AT_ONCE)))
    times.cpu.append(process_time() - started_cpu)


async def _repeat(send: AsyncSend, times: int) -> None:
    for _ in range(times):
        await send()


if __name__ == "__main__":
    time_sync(sys.argv[1])
    asyncio.run(time_async(sys.argv[1]))
