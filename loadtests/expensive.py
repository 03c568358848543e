"""Models that are expensive to run, by runs and threads: python -m loadtests.expensive

A small CNN and a small transformer with random weights, some milliseconds a row, in one
worker of gomlx with one or two runs at once of one or two threads, and in the service
that people write first: FastAPI, uvicorn and TensorFlow with its own threads. All use
all cores, as does the load. Rounds alternate. Prints the best round, which other
programs on the machine have disturbed least, of: p50 for one caller; rows a second and
CPU a row for 16 callers; p50 and p99 of hits beside those 16, one at a time.
"""

import http.client
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from statistics import quantiles
from typing import Annotated, Any, NamedTuple
from urllib.parse import urlsplit

import typer
from rich.console import Console
from rich.table import Table

from loadtests.load import procfs, services
from loadtests.load.traffic import FIRST, Rows, Traffic
from loadtests.load.wrk import wrk
from tests.support.service import running

_CALLERS = 16
_BETWEEN_HITS = 0.005
_VARIANTS = {
    "one run": (1, 1),
    "two runs": (2, 1),
    "one run of two threads": (1, 2),
    "two runs of two threads": (2, 2),
}
_ROWS = Rows(templates=(b'{"x":%d}',))
_BEST = (min, max, min, min, min)  # of each figure
_HIT = FIRST - 1  # a row that no caller of misses asks for
_new_rows = count(FIRST, 100_000)


class Server(NamedTuple):
    """A service and the path of one model in it.

    caches: a row is hit again. pids: of its workers.
    """

    name: str
    model: str
    url: str
    path: str
    caches: bool
    pids: Sequence[int]


class Figures(NamedTuple):
    """One round. Times in ms; nan: not measured."""

    one_p50: float
    rows_a_second: float
    cpu_a_row: float
    hit_p50: float
    hit_p99: float


def cnn(path: Path) -> None:
    """Save a model of three convolutions over an image that a number makes."""
    import numpy as np
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    random = np.random.default_rng(1)
    size = 96
    pixels = tf.constant(random.random((size, size, 3), np.float32))
    filters = [
        tf.Variable(random.normal(0, 0.1, (3, 3, a, b)).astype(np.float32))
        for a, b in ((3, 32), (32, 64), (64, 64))
    ]

    def f(x: Any) -> Any:
        hidden = tf.sin(tf.reshape(x, [-1, 1, 1, 1]) * pixels)
        for one in filters:
            hidden = tf.nn.relu(tf.nn.conv2d(hidden, one, 1, "SAME"))
        return {"y": tf.reduce_mean(hidden, [1, 2, 3])[:, None]}

    save(path, f, [spec("x")], filters)


def transformer(path: Path) -> None:
    """Save a model of four layers of attention over tokens that a number makes."""
    import numpy as np
    import tensorflow as tf

    from tests.support.saved_models import save, spec

    random = np.random.default_rng(1)
    tokens, width, heads = 64, 256, 4
    first = tf.constant(random.random((tokens, width), np.float32))
    sizes = [(width, 3 * width), (width, width), (width, 1024), (1024, width)]
    layers = [
        [tf.Variable(random.normal(0, 0.05, s).astype(np.float32)) for s in sizes]
        for _ in range(4)
    ]

    def attend(hidden: Any, weights: Any) -> Any:
        parts = tf.reshape(hidden @ weights, [-1, tokens, 3, heads, width // heads])
        query, key, value = tf.unstack(tf.transpose(parts, [2, 0, 3, 1, 4]))
        shares = tf.nn.softmax(tf.matmul(query, key, transpose_b=True) / 8.0)
        mixed = tf.transpose(tf.matmul(shares, value), [0, 2, 1, 3])
        return tf.reshape(mixed, [-1, tokens, width])

    def f(x: Any) -> Any:
        hidden = tf.sin(tf.reshape(x, [-1, 1, 1]) * first)
        for inner, outer, wide, narrow in layers:
            hidden += attend(hidden, inner) @ outer
            hidden += tf.nn.relu(hidden @ wide) @ narrow
        return {"y": tf.reduce_mean(tf.tanh(hidden), [1, 2])[:, None]}

    save(path, f, [spec("x")], layers)


_MODELS = {"CNN": cnn, "transformer": transformer}


@contextmanager
def servers(folder: Path) -> Iterator[Sequence[Server]]:
    """Start gomlx and FastAPI with both models, on all cores."""
    paths = {name: folder / name for name in _MODELS}
    for name, make in _MODELS.items():
        make(paths[name])
    models = [
        {
            "id": f"{name}-{runs}-{threads}",
            "url": str(path),
            "datastore": "answers",
            "batch": {"runs": runs, "threads": threads},
        }
        for name, path in paths.items()
        for runs, threads in _VARIANTS.values()
    ]
    config = {"models": models, "datastores": [{"id": "answers", "memory_mb": 64}]}
    with (
        running(folder, config, stages=True) as service,
        services.fastapi(folder / "fastapi", paths) as other,
    ):
        for pid in other.pids:
            procfs.pin(pid, procfs.cores())
        pids = service.worker_pids()
        found = []
        for name in _MODELS:
            for variant, (runs, threads) in _VARIANTS.items():
                path = f"/v1/api/model/{name}-{runs}-{threads}/eval"
                title = f"gomlx, {variant}"
                found.append(Server(title, name, service.url, path, True, pids))
            path = f"/{name}"
            found.append(Server(other.name, name, other.url, path, False, other.pids))
        yield found


def measure(server: Server, seconds: float) -> Figures:
    """Measure one caller, then 16 and the hits beside them."""
    one = wrk(server.url, _traffic(server), 1, seconds)
    with ThreadPoolExecutor(1) as pool:
        until = time.monotonic() + seconds
        hits = pool.submit(_hits, server, until) if server.caches else None
        before = procfs.cpu_seconds(server.pids)
        several = wrk(server.url, _traffic(server), _CALLERS, seconds)
        cpu = (procfs.cpu_seconds(server.pids) - before) * 1000 / several.requests
    if one.failed or several.failed:
        raise RuntimeError(f"{server}: {one.failed + several.failed} requests failed")
    cuts = quantiles(hits.result(), n=100) if hits else [float("nan")] * 99
    rate = several.requests / several.seconds
    return Figures(one.p50, rate, cpu, cuts[49], cuts[98])


def _traffic(server: Server) -> Traffic:
    return Traffic(server.path, _ROWS, hits=0.0, start=next(_new_rows))


def _hits(server: Server, until: float) -> list[float]:
    """Request one cached row again and again, with pauses; return the latencies, ms."""
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=60)
    found = []
    while time.monotonic() < until:
        started = time.perf_counter()
        connection.request("POST", server.path, _ROWS.body(_HIT))
        assert connection.getresponse().read()
        found.append((time.perf_counter() - started) * 1000)
        time.sleep(_BETWEEN_HITS)
    return found[1:]  # the first one is a miss


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=1)] = 1,
) -> None:
    """Measure every server in each round, and print the table."""
    console = Console(width=120)
    console.print(f"load of the machine before: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as directory, servers(Path(directory)) as found:
        figures: list[list[Figures]] = [[] for _ in found]
        for _ in range(rounds):
            for server, those in zip(found, figures, strict=True):
                those.append(measure(server, seconds))
    titles = ["one caller, p50", "16 callers, rows/s", "CPU a row", "hits, p50", "p99"]
    shown = Table("ms", *titles)
    for server, those in zip(found, figures, strict=True):
        columns = zip(_BEST, zip(*those, strict=True), strict=True)
        numbers = [f"{best(values):.3g}" for best, values in columns]
        shown.add_row(f"{server.model}: {server.name}", *numbers)
    console.print(shown)
    console.print(f"load of the machine after: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    typer.run(main)
