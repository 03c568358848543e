"""What each fault of Redis costs a request: python -m loadtests.redis_faults

A real service without L1, so that every question goes to Redis first (deadline 5 ms),
asked over eight connections, half of the questions new. Milliseconds from question to
answer; what failed or was wrong is counted and must be nothing.
"""

import asyncio
import random
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import orjson

from tests import saved_models
from tests.redis_servers import Relay, server
from tests.service import Service, running
from tests.test_tiers import FAULTS, Faulty, config_of

CONNECTIONS, SECONDS = 8, 4.0


class Load:
    """The latencies of one phase, and its wrong answers."""

    def __init__(self, service: Service) -> None:
        url = service.client.base_url
        self._host, self._port = url.host, url.port
        self.seconds: list[float] = []
        self.wrong = 0

    async def run(self) -> None:
        self._until = time.monotonic() + SECONDS
        await asyncio.gather(*(self._connection(n) for n in range(CONNECTIONS)))

    async def _connection(self, seed: int) -> None:
        chance = random.Random(seed)
        reader, writer = await asyncio.open_connection(self._host, self._port)
        while time.monotonic() < self._until:
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
        ordered = sorted(self.seconds)
        p50, p99, most = (
            ordered[min(int(len(ordered) * q), len(ordered) - 1)] * 1000
            for q in (0.5, 0.99, 1)
        )
        return (
            f"p50 {p50:6.2f}  p99 {p99:6.2f}  longest {most:7.2f}  "
            f"of {len(ordered)}, {self.wrong} wrong"
        )


def measure(name: str, faulty: Faulty, fault: AbstractContextManager[None]) -> None:
    with fault:
        load = Load(faulty.service)
        asyncio.run(load.run())
    print(f"{name:10} {load}")  # noqa: T201


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        source = saved_models.scale(folder / "model", 2.0)
        with server(folder / "redis") as redis, Relay(redis.port) as relay:
            (folder / "service").mkdir()
            config = config_of(source, f"redis://127.0.0.1:{relay.port}/0")
            with running(folder / "service", config) as service:
                faulty = Faulty(service, redis, relay)
                measure("quiet", faulty, nullcontext())
                for fault in FAULTS:
                    measure(fault.__name__, faulty, fault(faulty))
                measure("quiet", faulty, nullcontext())
                redis.process.kill()
                redis.process.wait()
                measure("killed", faulty, nullcontext())


if __name__ == "__main__":
    main()
