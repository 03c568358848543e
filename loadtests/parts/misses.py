"""The cost of a row beside its model: python -m loadtests.parts.misses

Submits rows that hit and rows that miss to a predictor, in one process and without
sockets. The model's run is a constant, so what is measured is decoding, keys, look-ups,
flights, deadlines and the batcher. Prints microseconds of CPU per request in the event
loop's thread, the least of several repeats.
"""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from time import thread_time
from typing import Any

from gomlx.cache.local import Local, LocalCounts
from gomlx.cache.shared_memory.store import create_store
from gomlx.cache.shared_memory.tier import SharedMemory
from gomlx.cache.tiered import Tiered
from gomlx.metrics.declarations import ROWS, SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.cost import Cost, Timing
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RunMetrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor, RowLimits
from gomlx.server.predict.reply import Reply

_REPEATS = 15
_AT_ONCE = 16
_TURNS = 500


def staged(folder: Path) -> Any:
    """Return the servable of a model of one float."""
    import tensorflow as tf

    from gomlx.models.serving.servable import Servable
    from gomlx.models.staging.stage import stage
    from gomlx.models.version import StageRequest

    module = tf.Module()
    double = tf.function(
        lambda x: {"y": x * 2.0}, [tf.TensorSpec((None, 1), tf.float32, "x")]
    )
    tf.saved_model.save(module, str(folder / "model"), {"serving_default": double})
    request = StageRequest(
        "m", str(folder / "model"), folder / "staged", "serving_default", {}
    )
    return Servable(stage(request))


class Unread:
    """Metrics that only count."""

    def counter(self, *_: str) -> Counter:
        """Return a new counter."""
        return Counter()

    def histogram(self, *_: str) -> Histogram:
        """Return a new histogram."""
        return Histogram(SECONDS)


def predictor_over(servable: Any, cache: Tiered) -> Predictor:
    """Return a predictor whose model's run is a constant."""

    def run(rows: Sequence[Any]) -> list[bytes]:
        return [b'{"y":1.0}'] * len(rows)

    runs = RunMetrics(
        Counter(), Counter(), Histogram(SECONDS), Histogram(ROWS), Counter()
    )
    limits = BatchLimits(64, 0, 10_000)
    current = Current(["m"])
    batcher = Batcher("m", run, limits, runs, Cost(64, [Timing(0.0, 0.0)]))
    current.swap({"m": LiveVersion(servable, batcher)}, lambda _: None)
    most = {"m": RowLimits(10_000, 10_000)}
    return Predictor(current, {"m": CachePolicy(cache)}, most, Unread())


async def microseconds(
    predictor: Predictor, body: Callable[[int], bytes], warm: bool
) -> float:
    """Return the CPU time per request. warm: each row is submitted once before."""
    best = float("inf")
    n = 0
    count = 0

    def done(_: Reply) -> None:
        nonlocal count
        count += 1

    for repeat in range(_REPEATS + warm):
        bodies = [body(n + i) for i in range(_AT_ONCE * _TURNS)]
        n += len(bodies)
        started = thread_time()
        for turn in range(0, len(bodies), _AT_ONCE):
            for one in bodies[turn : turn + _AT_ONCE]:
                predictor.submit("m", one, done, 30.0)
            while count < n - len(bodies) + turn + _AT_ONCE:  # noqa: ASYNC110
                await asyncio.sleep(0)
        if repeat >= warm:
            best = min(best, (thread_time() - started) / len(bodies))
        await asyncio.sleep(0.05)  # for the answers that wait to be written
    return best * 1e6


async def measure(folder: Path, shared: Path) -> None:
    """Print the costs. folder: for the model. shared: for the cache."""
    counts = LocalCounts(lambda *_: Counter(), Histogram(SECONDS))
    create_store(shared / "store", 256 << 20)
    local = Local(SharedMemory(shared / "store"), counts, 64 << 20)
    cache = Tiered(local, [], 3600)
    predictor = predictor_over(staged(folder), cache)
    hits = await microseconds(predictor, lambda n: b'{"x":%d}' % (n % 1000), True)
    misses = await microseconds(predictor, lambda n: b'{"x":%d}' % (n + 1000), False)
    write = sys.stdout.write
    write(f"a hit   {hits:6.2f} us\na miss  {misses:6.2f} us\n")
    await cache.close()


def main() -> None:
    """Measure with a model and a cache in temporary folders."""
    make = partial(tempfile.TemporaryDirectory, prefix="gomlx-")
    with make() as folder, make(dir="/dev/shm") as shared:
        asyncio.run(measure(Path(folder), Path(shared)))


if __name__ == "__main__":
    main()
