"""What each fault of Redis costs a request: python -m loadtests.redis_faults

A real service without L1, so that every row is looked up in Redis first (deadline
5 ms), with eight connections; half of the rows are new. Milliseconds from request to
response; failed and wrong answers are counted, and there must be none. The goal: a
fault costs no more than the tier's deadline, so its p99 is at most that of the quiet
phase, the deadline and a margin of 3 ms. Missed goals are shown, and change no exit
code.
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

CONNECTIONS, SECONDS = 8, 4.0
DEADLINE = 0.005  # seconds: the tier's, which `config_of` leaves as it is
MARGIN = 0.003  # seconds: timers fire up to 1 ms late, and the machine has other work


class Load:
    """The latencies of one phase, and its wrong answers."""

    def __init__(self, service: Service) -> None:
        url = service.client.base_url
        self._host = url.host
        self._port = url.port
        self._ends = 0.0
        self.seconds: list[float] = []
        self.wrong = 0

    async def run(self) -> None:
        self._ends = time.monotonic() + SECONDS
        await asyncio.gather(*(self._connection(n) for n in range(CONNECTIONS)))

    async def _connection(self, seed: int) -> None:
        chance = random.Random(seed)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while time.monotonic() < self._ends:
            is_new = chance.random() < 0.5
            x = chance.random() if is_new else float(chance.randrange(100))
            body = orjson.dumps({"x": x})
            started = time.perf_counter()
            writer.write(
                b"POST /v1/api/model/m/eval HTTP/1.1\r\nhost: m\r\n"
                b"content-length: %d\r\n\r\n%b" % (len(body), body)
            )
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            answer = orjson.loads(await reader.readexactly(length))
            self.seconds.append(time.perf_counter() - started)
            if b" 200 " not in head or abs(answer["data"]["y"] - 2 * x) > 1e-5:
                self.wrong += 1
            await asyncio.sleep(0.002)
        writer.close()

    def __str__(self) -> str:
        p50, p99, most = (quantile(self.seconds, q) * 1000 for q in (0.5, 0.99, 1))
        return (
            f"p50 {p50:6.2f}  p99 {p99:6.2f}  longest {most:7.2f}  "
            f"of {len(self.seconds)}, {self.wrong} wrong"
        )


def quantile(seconds: Sequence[float], share: float) -> float:
    ordered = sorted(seconds)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def verdict(seconds: Sequence[float], wrong: int, quiet_p99: float) -> str:
    """Say whether a phase is as it should be: every answer right, and its p99."""
    limit = (quiet_p99 + DEADLINE + MARGIN) * 1000
    is_met = not wrong and quantile(seconds, 0.99) * 1000 <= limit
    return f"goal p99 ≤ {limit:.2f}: {'met' if is_met else 'missed'}"


def measure(
    name: str,
    faulty: Faulty,
    fault: AbstractContextManager[None],
    quiet_p99: float | None = None,
) -> float:
    """Print a phase, and its goal if there was a quiet one before; return its p99."""
    with fault:
        load = Load(faulty.service)
        asyncio.run(load.run())
    goal = "" if quiet_p99 is None else verdict(load.seconds, load.wrong, quiet_p99)
    print(f"{name:10} {load}  {goal}".rstrip())  # noqa: T201
    return quantile(load.seconds, 0.99)


def main() -> None:
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
