"""Names of concurrent callers in one command after another."""

import asyncio
from collections.abc import Mapping

import pytest

from gomlx.cache.remote.joiner import CommandJoiner
from gomlx.cache.tasks import Tasks

pytestmark = pytest.mark.asyncio


class Commands:
    """Commands that end when they may, and their names."""

    def __init__(self) -> None:
        self.names: list[list[bytes]] = []
        self.may_end = asyncio.Event()
        self.joiner = CommandJoiner(self._run, Tasks())

    async def _run(self, names: list[bytes]) -> Mapping[bytes, int] | None:
        self.names.append(names)
        await self.may_end.wait()
        return {name: len(name) for name in names} if b"" not in names else None

    def submit(self, *names: bytes) -> asyncio.Task[Mapping[bytes, int] | None]:
        return asyncio.create_task(self.joiner.submit(names))


async def test_names_of_one_turn_are_joined() -> None:
    commands = Commands()
    commands.may_end.set()
    callers = [commands.submit(b"a"), commands.submit(b"bb", b"a")]
    assert await asyncio.gather(*callers) == [{b"a": 1, b"bb": 2}] * 2
    assert commands.names == [[b"a", b"bb"]]


async def test_one_command_runs_at_a_time() -> None:
    commands = Commands()
    first = commands.submit(b"a")
    while not commands.names:
        await asyncio.sleep(0)
    rest = []
    for name in (b"b", b"c", b"a"):
        rest.append(commands.submit(name))
        await asyncio.sleep(0)
    assert commands.names == [[b"a"]]
    commands.may_end.set()
    assert await first == {b"a": 1}
    assert await asyncio.gather(*rest) == [{b"b": 1, b"c": 1, b"a": 1}] * 3
    assert commands.names == [[b"a"], [b"b", b"c", b"a"]]


async def test_a_caller_that_is_cancelled_does_not_cancel_the_command() -> None:
    commands = Commands()
    impatient = commands.submit(b"a")
    patient = commands.submit(b"b")
    while not commands.names:
        await asyncio.sleep(0)
    impatient.cancel()
    commands.may_end.set()
    assert await patient == {b"a": 1, b"b": 1}
    assert impatient.cancelled()


async def test_a_command_without_an_outcome_has_none_for_all() -> None:
    commands = Commands()
    commands.may_end.set()
    callers = [commands.submit(b""), commands.submit(b"a")]
    assert await asyncio.gather(*callers) == [None, None]
    assert await commands.submit(b"a") == {b"a": 1}
