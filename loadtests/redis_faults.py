"""The cost of a request under each fault of Redis: python -m loadtests.redis_faults

Loads a real service without L1, which looks up every row in Redis (deadline 5 ms), over
eight connections; half of the rows are new. Prints milliseconds from request to
response, and the number of failed and wrong answers, which has to be 0. The goal: a
fault costs no more than the tier's deadline, so its p99 is at most that of the quiet
phase, the deadline and a margin of 3 ms. Missed goals do not change the exit code.
"""

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import orjson

from tests.support import saved_models
from tests.support.redis_servers import server
from tests.support.relay import Relay
from tests.support.service import Service, running
from tests.system.test_tiers import FAULTS, Faulty, config_of

CONNECTIONS = 8
SECONDS = 4.0
DEADLINE = 0.005  # seconds: the tier's default, which `config_of` does not change
MARGIN = 0.003  # seconds: timers fire up to 1 ms late, and the machine has other work


class Load:
    """The load of one phase: its latencies, and the number of wrong answers."""

    def __init__(self, service: Service) -> None:
        url = service.client.base_url
        self._host = url.host
        self._port = url.port
        self.seconds: list[float] = []
        self.wrong = 0

    async def run(self) -> None:
        """Send for SECONDS, over all connections."""
        deadline = time.monotonic() + SECONDS
        senders = (self._send_until(deadline, seed) for seed in range(CONNECTIONS))
        await asyncio.gather(*senders)

    async def _send_until(self, deadline: float, seed: int) -> None:
        chance = random.Random(seed)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while time.monotonic() < deadline:
            is_new = chance.random() < 0.5
            x = chance.random() if is_new else float(chance.randrange(100))
            started = time.perf_counter()
            is_right = await _predict(reader, writer, x)
            self.seconds.append(time.perf_counter() - started)
            self.wrong += not is_right
            await asyncio.sleep(0.002)
        writer.close()

    def __str__(self) -> str:
        p50, p99, most = (quantile(self.seconds, q) * 1000 for q in (0.5, 0.99, 1))
        return (
            f"p50 {p50:6.2f}  p99 {p99:6.2f}  longest {most:7.2f}  "
            f"of {len(self.seconds)}, {self.wrong} wrong"
        )


async def _predict(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, x: float
) -> bool:
    """Request a row; tell whether the response is a 200 with y = 2 x."""
    body = orjson.dumps({"x": x})
    writer.write(
        b"POST /v1/api/model/m/eval HTTP/1.1\r\nhost: m\r\n"
        b"content-length: %d\r\n\r\n%b" % (len(body), body)
    )
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    response = orjson.loads(await reader.readexactly(length))
    return b" 200 " in head and abs(response["data"]["y"] - 2 * x) <= 1e-5


def quantile(seconds: Sequence[float], share: float) -> float:
    """Return a quantile of latencies. share: 0.99 for p99, 1 for the maximum."""
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def verdict(seconds: Sequence[float], wrong: int, quiet_p99: float) -> str:
    """Return the goal of a phase, and whether it is met: its p99, no wrong answer."""
    limit = (quiet_p99 + DEADLINE + MARGIN) * 1000
    is_met = not wrong and quantile(seconds, 0.99) * 1000 <= limit
    return f"goal p99 ≤ {limit:.2f}: {'met' if is_met else 'missed'}"


def measure(
    name: str,
    faulty: Faulty,
    fault: AbstractContextManager[None],
    quiet_p99: float | None = None,
) -> float:
    """Print a phase, and its goal if there is a quiet p99; return the phase's p99."""
    with fault:
        load = Load(faulty.service)
        asyncio.run(load.run())
    goal = "" if quiet_p99 is None else verdict(load.seconds, load.wrong, quiet_p99)
    print(f"{name:10} {load}  {goal}".rstrip())  # noqa: T201
    return quantile(load.seconds, 0.99)


def main() -> None:
    """Measure a quiet phase, each fault, a quiet phase again, and Redis killed."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = saved_models.scale(folder / "model", 2.0)
        with server(folder / "redis") as redis, Relay(redis.port) as relay:
            (folder / "service").mkdir()
            config = config_of(source, f"redis://127.0.0.1:{relay.port}/0")
            with running(folder / "service", config) as service:
                faulty = Faulty(service, redis, relay)
                quiet = measure("quiet", faulty, nullcontext())
                for fault in FAULTS:
                    measure(fault.__name__, faulty, fault(faulty), quiet)
                measure("quiet", faulty, nullcontext(), quiet)
                redis.process.kill()
                redis.process.wait()
                measure("killed", faulty, nullcontext(), quiet)


if __name__ == "__main__":
    main()
