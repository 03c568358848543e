"""Two hosts, one of them killed again and again: python -m loadtests.killed [SECONDS]

A client calls both without a pause, each time with a row that is not known, for so many
seconds (30). Every 2 s one of them is killed with SIGKILL, and started again 1 s later;
they are processes that respond as services do (tests/client/fake.py). With --services
SECONDS they are real services, and one of them is killed 2 s after it was ready. Prints
the calls, how long the longest took, and those that failed; exits with 1 if any did.
"""

import asyncio
import socket
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

from gomlx import AsyncClient, GomlxError
from tests.support import saved_models
from tests.support.service import Service, wait_for

AT_ONCE = 8
PERIOD = 2.0  # seconds
# A process of its own that imports little, so it starts soon.
HOST = """
import asyncio, sys
from tests.client.fake import Host, works

async def serve():
    async with Host(works).running(port=int(sys.argv[1])):
        await asyncio.Event().wait()

asyncio.run(serve())
"""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A host that is a process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()
        wait_for(lambda: is_listening(self.port))

    def start(self) -> None:
        command = [sys.executable, "-c", HOST, str(self.port)]
        self._process = subprocess.Popen(command)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()


class RealService:
    """A host that is a service; it has started when its model is ready."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        saved_models.scale(folder / "m", 2.0)
        config = {
            "models": [{"id": "m", "url": "./m"}],
            "endpoint": {"port": self.port},
        }
        self._service = Service(folder, config)
        self.start()

    def start(self) -> None:
        self._service.start()

    def kill(self) -> None:
        self._service.process.kill()
        self._service.process.wait()
        wait_for(lambda: not self._service.worker_pids())  # which end with it


async def come_and_go(host: Process | RealService, seconds: float) -> int:
    """Return how often it was killed; it runs at the end."""
    end = perf_counter() + seconds
    times = 0
    up = PERIOD / 2 if isinstance(host, Process) else PERIOD
    down = PERIOD - up
    while perf_counter() < end:
        await asyncio.sleep(up)
        await asyncio.to_thread(host.kill)
        times += 1
        await asyncio.sleep(down)
        await asyncio.to_thread(host.start)
    return times


class Calls:
    """The calls that were made, and how they ended."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0  # seconds
        self.failures: list[str] = []

    async def repeat(
        self, predict: Callable[..., Awaitable[object]], ended: asyncio.Event
    ) -> None:
        while not ended.is_set():
            self.count += 1
            x = self.count / 8
            started = perf_counter()
            try:
                assert await predict(x=x) == {"y": 2 * x}
            except GomlxError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.longest = max(self.longest, perf_counter() - started)


async def main(seconds: float, kind: type[Process] | type[RealService]) -> int:
    calls = Calls()
    ended = asyncio.Event()
    async with AsyncExitStack() as stack:
        hosts = [kind(), kind()]
        for host in hosts:
            stack.callback(host.kill)
        urls = [f"http://127.0.0.1:{host.port}" for host in hosts]
        client = await stack.enter_async_context(AsyncClient("m", urls))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(calls.repeat(client.predict, ended))
            times = await come_and_go(hosts[0], seconds)
            ended.set()
        requests = client.metrics()["requests"]
    print(  # noqa: T201
        f"killed {times} times in {seconds:g} s: {calls.count:,} calls, the longest"
        f" {calls.longest * 1000:.0f} ms; {len(calls.failures)} failed; {requests}"
    )
    for failure in calls.failures[:5]:
        print(failure)  # noqa: T201
    return 1 if calls.failures else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    real = words[:1] == ["--services"]
    length = float(words[-1]) if words and words[-1][0].isdigit() else 30.0
    sys.exit(asyncio.run(main(length, RealService if real else Process)))
