"""The cost of a hit in each tier: python -m loadtests.tiers

Looks up rows in one process, as a worker does: in shared memory in line, and in Redis
(real servers on loopback: TCP, a unix socket, a cluster of three) through deadline,
breaker and validation of the values. Prints the best of several times, in microseconds
per row: of wall time, of this process's CPU, and of the servers'. Of Redis, what else a
row costs, too: the write of an answer, the time to live that is read to promote a hit,
and the look-up as a worker measures it for `skip_below_us: auto`; and the memory of an
answer.
"""

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.redis.options import RedisOptions
from gomlx.cache.redis.tier import RedisTier
from gomlx.cache.remote.counts import RemoteCounts
from gomlx.cache.remote.limits import TierLimits
from gomlx.cache.remote.tier import Remote
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tiered import Tiered
from gomlx.contract.answer import SharedAnswers
from gomlx.contract.tensor import Tensor
from gomlx.metrics.declarations import SECONDS
from gomlx.metrics.instruments import Counter, Gauge, Histogram
from tests.support.redis_servers import Server, cluster, cluster_url, server

SPACE = SharedAnswers("m", "0" * 32, [Tensor("late", "float32", (1,))])
KEYS = [number.to_bytes(16, "little") for number in range(1000)]
ANSWER = b'{"late":0.4460329}'
ROWS = (1, 100)
REPEATS = 7


async def written(remote: Remote) -> None:
    """Return when nothing is queued."""
    while remote.writes.queue.entries:  # noqa: ASYNC110  # an event would cost, too
        await asyncio.sleep(0)


def server_cpu(servers: Sequence[Server]) -> float:
    """Return the CPU seconds that servers have used."""
    return sum(
        float(line.partition(":")[2])
        for one in servers
        for line in one.execute("INFO", "cpu").splitlines()
        if line.startswith(("used_cpu_user:", "used_cpu_sys:"))
    )


def counter(*_: str) -> Counter:
    """Return a counter whose labels do not matter."""
    return Counter()


def redis_tier(url: str) -> Remote:
    """Return a shared tier with a deadline and a breaker."""
    tier = RedisTier(RedisOptions(url, timeout_seconds=5))
    limits = TierLimits(1.0, 600, 1 << 20, 1 << 20, is_read_only=False)
    return Remote(
        "redis", tier, limits, RemoteCounts(counter, Histogram(SECONDS), Gauge())
    )


LookUp = Callable[[int], Coroutine[Any, Any, int]]


async def best(look_up: LookUp, servers: Sequence[Server] = ()) -> None:
    """Print the cost of a row, looked up alone and among a hundred."""
    for rows in ROWS:
        costs = [await _cost(look_up, rows, servers) for _ in range(REPEATS)]
        wall = min(cost.wall for cost in costs)
        cpu = min(cost.cpu for cost in costs)
        theirs = min(cost.server_cpu for cost in costs)
        text = f"  {rows:3} rows: {wall:7.1f} us a row, {cpu:7.1f} us CPU"
        print(text + (f", {theirs:5.1f} of the servers" if servers else ""))  # noqa: T201


class Cost(NamedTuple):
    """Microseconds per row."""

    wall: float
    cpu: float
    server_cpu: float


async def _cost(look_up: LookUp, rows: int, servers: Sequence[Server]) -> Cost:
    loops = 2000 // rows
    started_servers = server_cpu(servers)
    started = time.perf_counter()
    started_cpu = time.process_time()
    for _ in range(loops):
        assert await look_up(rows) == rows, "a miss"
    wall = time.perf_counter() - started
    cpu = time.process_time() - started_cpu
    theirs = server_cpu(servers) - started_servers
    scale = 1e6 / (loops * rows)
    return Cost(wall * scale, cpu * scale, theirs * scale)


@contextmanager
def shared_memory() -> Iterator[Local]:
    """Yield L1 over an empty store."""
    folder = Path(tempfile.mkdtemp(prefix="gomlx-load-", dir="/dev/shm"))
    try:
        create_store(folder / "store", 16 << 20)
        yield Local(
            SharedMemory(folder / "store"),
            LocalCounts(counter, Histogram(SECONDS)),
            1 << 20,
        )
    finally:
        shutil.rmtree(folder)


async def measure_memory() -> None:
    """Print the cost of a hit in L1."""
    print("L1, shared memory")  # noqa: T201
    with shared_memory() as local:
        tiers = Tiered(local, [], 600)
        for key in KEYS:
            tiers.set(SPACE, key, ANSWER)
        await asyncio.sleep(0.1)

        async def look_up(rows: int) -> int:
            return len(tiers.get_many(KEYS[:rows]))

        await best(look_up)
        await tiers.close()


async def measure_redis(name: str, url: str, servers: Sequence[Server]) -> None:
    """Print the cost of a hit in Redis."""
    print(name)  # noqa: T201
    remote = redis_tier(url)
    tiers = Tiered(None, [remote], 600)
    for key in KEYS:
        tiers.set(SPACE, key, ANSWER)
    await asyncio.sleep(1)  # until all is written, and a cluster's map is read

    async def look_up(rows: int) -> int:
        return len(await tiers.get_shared(SPACE, KEYS[:rows]))

    async def write(rows: int) -> int:
        for key in KEYS[:rows]:
            tiers.set(SPACE, key, ANSWER)
        await written(remote)
        return rows

    names = [SPACE.name(key) for key in KEYS]

    async def remaining_ttl(rows: int) -> int:
        return len(await remote.remaining_ttl(names[:rows]))

    await best(look_up, servers)
    print("  a write")  # noqa: T201
    await best(write, servers)
    print("  the remaining time to live")  # noqa: T201
    await best(remaining_ttl, servers)
    await remote.measure()
    seconds = remote.worth.lookup_seconds
    print(f"  measured for `auto`: {seconds * 1e6:.1f} us CPU")  # noqa: T201
    if len(servers) == 1:  # a cluster's node has a part of the keys
        servers[0].execute("FLUSHALL", "SYNC")
        size = memory_of_an_answer(servers[0])
        print(f"  memory of an answer of 100 bytes: {size} bytes")  # noqa: T201
    await tiers.close()


def memory_of_an_answer(one: Server) -> int:
    """Return the bytes of a server's memory for each answer of many."""
    script = """
        local answer = string.rep("x", 100)
        for n = 1, 100000 do
            local name = string.format("gomlx:1:flights:%032x:%032x", n, n)
            redis.call("SET", name, answer, "PX", 3600000)
        end"""

    def used() -> int:
        info = one.execute("INFO", "memory")
        return int(info.partition("used_memory:")[2].split()[0])

    before = used()
    one.execute("EVAL", script, 0)
    return (used() - before) // 100_000


def main() -> None:
    """Start the servers, and measure every tier."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        socket = folder / "redis.sock"
        redis = stack.enter_context(server(folder / "redis", f"unixsocket {socket}"))
        nodes = stack.enter_context(cluster(folder / "cluster"))
        uvloop.run(measure_memory())
        uvloop.run(measure_redis("Redis, TCP on loopback", redis.url, [redis]))
        local = f"unix://{socket}?db=0"
        uvloop.run(measure_redis("Redis, unix socket", local, [redis]))
        name = "Redis Cluster, three masters"
        uvloop.run(measure_redis(name, cluster_url(nodes), nodes))


if __name__ == "__main__":
    main()
