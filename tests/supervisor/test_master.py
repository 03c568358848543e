"""A master that ends, hangs or dies before its workers; short scripts stand for it."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gomlx.runtime.listeners import BoundSocket, Listeners
from gomlx.supervisor.master import Master
from tests.support.processes import is_running

pytestmark = pytest.mark.asyncio

# Announces itself, as a worker does, in the folder that is its argument.
WORKER = """
import os, pathlib, signal, sys, time
folder = pathlib.Path(sys.argv[1])
signal.signal(signal.SIGUSR2, lambda *_: (folder.parent / "signalled").touch())
(folder / str(os.getpid())).touch()
time.sleep(60)
"""
# Starts such a worker, and sleeps or ends before it.
MASTER = """
import subprocess, sys, time
subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]])
time.sleep(60)
"""
HUNG = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{MASTER}"


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield Listeners([BoundSocket(listening)])


@pytest.fixture
def workers(tmp_path: Path) -> Path:
    folder = tmp_path / "workers"
    folder.mkdir()
    return folder


def command(script: str, workers: Path) -> list[str]:
    return [sys.executable, "-c", script, str(workers), WORKER]


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


def names(workers: Path) -> set[str]:
    return {path.name for path in workers.iterdir()}


async def first_pid(workers: Path) -> int:
    await until(lambda: names(workers))
    (name,) = names(workers)
    return int(name)


async def test_a_master_that_ends_is_started_again(
    tmp_path: Path,
    workers: Path,
    listeners: Listeners,
    caplog: pytest.LogCaptureFixture,
) -> None:
    script = f"import os; open({str(tmp_path / 'log')!r}, 'a').write('x'); os._exit(3)"
    master = Master(command(script, workers), listeners, workers, 0.1)
    running = asyncio.create_task(master.keep_running())
    log = tmp_path / "log"
    await until(lambda: log.exists() and log.stat().st_size == 2)
    running.cancel()
    await master.stop()
    assert "Gunicorn ended (code 3); restarting it in 0.5 s" in caplog.text


async def test_workers_are_signalled(
    tmp_path: Path, workers: Path, listeners: Listeners
) -> None:
    master = Master(command(MASTER, workers), listeners, workers, 0.1)
    master.signal_workers()  # none runs yet
    running = asyncio.create_task(master.keep_running())
    worker = await first_pid(workers)
    (workers / "999999999").touch()  # has died
    (workers / str(os.getpid())).touch()  # its number was reused by another process
    master.signal_workers()
    await until((tmp_path / "signalled").exists)
    assert names(workers) == {str(worker), str(os.getpid())}
    running.cancel()
    await master.stop()
    await until(lambda: not is_running(worker))


async def test_a_hung_master_is_killed_with_its_workers(
    workers: Path, listeners: Listeners
) -> None:
    master = Master(command(HUNG, workers), listeners, workers, 0.1)
    running = asyncio.create_task(master.keep_running())
    worker = await first_pid(workers)
    running.cancel()
    stopping = asyncio.create_task(master.stop())
    await asyncio.sleep(0)  # it sends SIGTERM
    assert not stopping.done()
    master.kill()  # a second signal does not wait
    await stopping
    await until(lambda: not is_running(worker))


async def test_workers_that_outlive_their_master_are_killed(
    workers: Path, listeners: Listeners
) -> None:
    master = Master(command(MASTER, workers), listeners, workers, 0.1)
    running = asyncio.create_task(master.keep_running())
    worker = await first_pid(workers)
    leader = os.getpgid(worker)
    os.kill(leader, signal.SIGKILL)
    await until(lambda: not is_running(worker))
    running.cancel()
    await master.stop()


async def test_stopping_without_a_master(workers: Path, listeners: Listeners) -> None:
    master = Master(command(MASTER, workers), listeners, workers, 0.1)
    await master.stop()
    master.kill()
