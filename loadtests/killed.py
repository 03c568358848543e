"""Two hosts, one of them killed again and again: python -m loadtests.killed [SECONDS]

A client asks both without a pause, each time for a row that is not known, for so many
seconds (30). Every 2 s one of them is killed with SIGKILL, and started again 1 s later;
they are processes that answer as services do (tests/client/fake.py). With --services
SECONDS they are real services, and one of them is killed 2 s after it was ready. Prints
the calls, how long the longest took, and those that failed; ends with 1 if any did.
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

AT_ONCE, PERIOD = 8, 2.0
# A process of its own that imports little, so it is there soon.
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
        wait_for(lambda: not self._service.worker_pids())  # they end with it


async def come_and_go(host: Process | RealService, seconds: float) -> int:
    """Return how often it was killed; it runs at the end."""
    until, times = perf_counter() + seconds, 0
    up, down = (PERIOD / 2,) * 2 if isinstance(host, Process) else (PERIOD, 0.0)
    while perf_counter() < until:
        await asyncio.sleep(up)
        await asyncio.to_thread(host.kill)
        times += 1
        await asyncio.sleep(down)
        await asyncio.to_thread(host.start)
    return times


class Calls:
    """What was asked, and what came of it."""

    def __init__(self) -> None:
        self.count, self.longest, self.failures = 0, 0.0, list[str]()

    async def ask(
        self, predict: Callable[..., Awaitable[object]], ended: asyncio.Event
    ) -> None:
        while not ended.is_set():
            self.count += 1
            x, started = self.count / 8, perf_counter()
            try:
                assert await predict(x=x) == {"y": 2 * x}
            except GomlxError as error:
                self.failures.append(f"{type(error).__name__}: {error}")
            self.longest = max(self.longest, perf_counter() - started)


async def main(seconds: float, kind: type[Process] | type[RealService]) -> int:
    calls, ended = Calls(), asyncio.Event()
    async with AsyncExitStack() as stack:
        hosts = [kind(), kind()]
        for host in hosts:
            stack.callback(host.kill)
        urls = [f"http://127.0.0.1:{host.port}" for host in hosts]
        client = await stack.enter_async_context(AsyncClient("m", urls))
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(calls.ask(client.predict, ended))
            times = await come_and_go(hosts[0], seconds)
            ended.set()
        told = client.metrics()["requests"]
    print(  # noqa: T201
        f"killed {times} times in {seconds:g} s: {calls.count:,} calls, the longest"
        f" {calls.longest * 1000:.0f} ms; {len(calls.failures)} failed; {told}"
    )
    for failure in calls.failures[:5]:
        print(failure)  # noqa: T201
    return 1 if calls.failures else 0


if __name__ == "__main__":
    words = sys.argv[1:]
    real = words[:1] == ["--services"]
    length = float(words[-1]) if words and words[-1][0].isdigit() else 30.0
    sys.exit(asyncio.run(main(length, RealService if real else Process)))
