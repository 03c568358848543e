"""Two hosts, one of them killed again and again: python -m loadtests.killed [SECONDS]

A client calls both without a pause, each time with a new row, for so many seconds (30).
Every 2 s one of them is killed by SIGKILL, and started again 1 s later. The hosts are
processes that respond as services do (tests/client/fake.py). With --services SECONDS
they are real services, of which one is killed 2 s after it is ready. Prints the number
of calls, the longest one, and those that failed; exits with 1 if any failed.
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
from loadtests.load.services import free_port
from tests.support import saved_models
from tests.support.service import Service, wait_for

AT_ONCE = 8
PERIOD = 2.0  # seconds
# A process of its own, which imports little and starts fast.
HOST = """
import asyncio, sys
from tests.client.fake import Host, works

async def serve():
    async with Host(works).running(port=int(sys.argv[1])):
        await asyncio.Event().wait()

asyncio.run(serve())
"""


def is_listening(port: int) -> bool:
    """Tell whether a port of loopback accepts connections."""
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """A host that is a process."""

    def __init__(self) -> None:
        self.port = free_port()
        self.start()
        wait_for(lambda: is_listening(self.port))

    def start(self) -> None:
        """Start the process."""
        command = [sys.executable, "-c", HOST, str(self.port)]
        self._process = subprocess.Popen(command)

    def kill(self) -> None:
        """Kill the process."""
        self._process.kill()
        self._process.wait()


class RealService:
    """A host that is a real service."""

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
        """Start the service, and wait until its model is ready."""
        self._service.start()

    def kill(self) -> None:
        """Kill the supervisor, and wait for its workers, which end with it."""
        self._service.process.kill()
        self._service.process.wait()
        wait_for(lambda: not self._service.worker_pids())


async def come_and_go(host: Process | RealService, seconds: float) -> int:
    """Kill a host and start it again, until time is up; return how many times."""
    deadline = perf_counter() + seconds
    times = 0
    up_seconds = PERIOD / 2 if isinstance(host, Process) else PERIOD
    while perf_counter() < deadline:
        await asyncio.sleep(up_seconds)
        await asyncio.to_thread(host.kill)
        times += 1
        await asyncio.sleep(PERIOD - up_seconds)
        await asyncio.to_thread(host.start)
    return times


class Calls:
    """The number of calls, the longest one in seconds, and the failures."""

    def __init__(self) -> None:
        self.count = 0
        self.longest = 0.0
        self.failures: list[str] = []

    async def repeat(
        self, predict: Callable[..., Awaitable[object]], ended: asyncio.Event
    ) -> None:
        """Call one after the other until the event is set."""
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
    """Run the test; return the exit code."""
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
