"""Requests that arrive at once start in turns, in their order; each is answered."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from gomlx.server.asgi.pacing import PacedApp

pytestmark = pytest.mark.asyncio


class Turns:
    """Counts the turns of the event loop."""

    def __init__(self) -> None:
        self.count = 0
        self._next()

    def _next(self) -> None:
        self.count += 1
        self._handle = asyncio.get_running_loop().call_soon(self._next)

    def stop(self) -> None:
        self._handle.cancel()


async def test_few_start_in_a_turn_and_all_are_answered() -> None:
    turns = Turns()
    started = list[tuple[int, int]]()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        started.append((scope, turns.count))
        await asyncio.sleep(0)
        send(scope)

    answered: list[int] = []
    paced = PacedApp(app, per_turn=16)
    tasks = [asyncio.create_task(paced(n, None, answered.append)) for n in range(100)]
    await asyncio.gather(*tasks)
    turns.stop()
    assert sorted(answered) == list(range(100))
    assert [n for n, _ in started] == list(range(100))
    per_turn = [sum(turn == t for _, turn in started) for _, t in started]
    assert 1 < max(per_turn) <= 16
    assert all(b - a <= 2 for (_, a), (_, b) in pairwise(started))


async def test_a_request_that_fails_or_waits_delays_no_other() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope % 2:
            raise ValueError(scope)
        await asyncio.Event().wait()

    paced = PacedApp(app)
    tasks = [asyncio.create_task(paced(n, None, None)) for n in range(64)]
    done, waiting = await asyncio.wait(tasks, timeout=0.5)
    assert len(done) == len(waiting) == 32
    assert all(isinstance(task.exception(), ValueError) for task in done)
    for task in waiting:
        task.cancel()
