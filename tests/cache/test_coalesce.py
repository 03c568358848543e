"""One process computes a key, the others wait for its answer; real processes."""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gomlx.cache.coalesce import Coalescer
from gomlx.cache.leases import HostLeases
from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tier import Hit, Namespace
from gomlx.cache.tiered import Tiered
from gomlx.contract.answer import SharedAnswers
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Histogram

KEY = b"k" * 16
OTHER = b"o" * 16
SPACE = SharedAnswers("m", "0" * 32, ())
HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX, 1, int.from_bytes(bytes.fromhex(sys.argv[2])[:8]) >> 1)
print("held", flush=True)
time.sleep(600)
"""


class Host:
    """A worker's view of the memory of a host, and who computes in it."""

    def __init__(self, folder: Path) -> None:
        counts = LocalCounts(lambda *_: Counter(), Histogram(SECONDS))
        self.local = Local(SharedMemory(folder), counts, 1 << 20)
        self.tiers = Tiered(self.local, [], 60)
        self.leases = HostLeases(folder / "leases", self.local)
        self.coalescer = Coalescer(self.leases, 10, self.tiers.poll_local)

    async def settled(
        self, keys: Collection[bytes], seconds: float = 600
    ) -> dict[bytes, Hit | None]:
        settled: dict[bytes, Hit | None] = {}
        deadline = asyncio.get_running_loop().time() + seconds
        await self.coalescer.settle(SPACE, keys, deadline, settled.__setitem__)
        return settled


@pytest.fixture
def folder(shared_folder: Path) -> Path:
    create_store(shared_folder / "store", 1 << 20)
    return shared_folder / "store"


@contextmanager
def holder(folder: Path, key: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds a key's lease."""
    (folder / "leases").touch()
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder / "leases"), key.hex()],
        stdout=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stdout.readline() == b"held\n"
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def run(folder: Path, work: Callable[[Host], Any]) -> Any:
    async def with_host() -> Any:
        host = Host(folder)
        try:
            return await work(host)
        finally:
            await host.tiers.close()

    return asyncio.run(with_host())


def test_a_key_that_no_process_holds_is_ours(folder: Path) -> None:
    assert run(folder, lambda host: host.settled([KEY, OTHER])) == {
        KEY: None,
        OTHER: None,
    }


def test_an_answer_that_is_there_by_now_is_not_computed_again(folder: Path) -> None:
    store = SharedMemory(folder)
    store.set_many({KEY: (b"1", 60)})
    store.close()
    settled = run(folder, lambda host: host.settled([KEY, OTHER]))
    assert settled == {KEY: Hit(b"1", "L1"), OTHER: None}


def test_the_answer_of_another_process_is_waited_for(folder: Path) -> None:
    async def work(host: Host) -> Any:
        with holder(folder, KEY):
            waiting = asyncio.create_task(host.settled([KEY, OTHER]))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            host.local.set(KEY, b"1", 60)  # as if the other process had
            return await waiting

    assert run(folder, work) == {KEY: Hit(b"1", "L1"), OTHER: None}


def test_other_keys_are_computed_while_one_is_waited_for(folder: Path) -> None:
    async def work(host: Host) -> Any:
        settled: dict[bytes, Any] = {}
        deadline = asyncio.get_running_loop().time() + 600
        with holder(folder, KEY):
            settling = asyncio.create_task(
                host.coalescer.settle(
                    SPACE, [KEY, OTHER], deadline, settled.__setitem__
                )
            )
            await asyncio.sleep(0.1)
            assert settled == {OTHER: None}
        await settling
        return settled

    assert run(folder, work) == {OTHER: None, KEY: None}


def test_a_holder_that_is_killed_frees_the_others(folder: Path) -> None:
    async def work(host: Host) -> Any:
        with holder(folder, KEY) as process:
            waiting = asyncio.create_task(host.settled([KEY], 1000))
            await asyncio.sleep(0.1)
            assert not waiting.done()
            process.kill()
            return await asyncio.wait_for(waiting, 30)

    assert run(folder, work) == {KEY: None}


def test_a_holder_that_hangs_is_waited_for_no_longer_than_the_lease(
    folder: Path,
) -> None:
    with holder(folder, KEY):
        started = time.monotonic()
        assert run(folder, lambda host: host.settled([KEY], 0.2)) == {KEY: None}
        assert time.monotonic() - started >= 0.2


def test_a_lease_ends_when_the_answer_can_be_read(folder: Path) -> None:
    async def work(host: Host) -> None:
        await host.settled([KEY])
        assert not is_free(folder, KEY)
        host.local.set(KEY, b"1", 60)
        async with asyncio.timeout(30):
            while not is_free(folder, KEY):
                await asyncio.sleep(0.01)
        assert host.local.peek([KEY]) == {KEY: b"1"}

    run(folder, work)


def test_a_lease_without_an_answer_is_released(folder: Path) -> None:
    async def work(host: Host) -> None:
        await host.settled([KEY, OTHER])
        host.coalescer.release(KEY)
        assert is_free(folder, KEY)
        assert not is_free(folder, OTHER)

    run(folder, work)


def is_free(folder: Path, key: bytes) -> bool:
    """Return whether another process could acquire a key's lease."""
    code = HOLD.replace("LOCK_EX,", "LOCK_EX | fcntl.LOCK_NB,").replace("600", "0")
    command = [sys.executable, "-c", code, str(folder / "leases"), key.hex()]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_shared_names_differ_by_model_and_version() -> None:
    spaces: list[Namespace] = [
        SharedAnswers(model, version * 32, ()) for model in "ab" for version in "01"
    ]
    assert len({space.name(KEY) for space in spaces}) == 4
    assert SPACE.name(KEY) == b"gomlx:1:m:" + b"0" * 32 + b":" + KEY.hex().encode()
