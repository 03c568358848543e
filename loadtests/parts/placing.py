"""Where should a run happen, in line or in a thread? python -m loadtests.parts.placing

One core: an event loop that answers 2,000 hits a second (datagrams from another core,
13 us of work each) and runs a real model without a pause, for each number of rows once
in line and once in the batcher's thread. Prints the latency of the hits and the cost of
the runs. On a busy machine: `chrt --rr 1 python -m loadtests.parts.placing`, which
occupies two cores for ten seconds. The event loop then has priority over the thread, as
it has on an idle machine, whose scheduler prefers the thread that has waited.
"""

import asyncio
import gc
import multiprocessing
import os
import random
import socket
import sys
import tempfile
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import uvloop

from gomlx.metrics.declarations import ROWS, SECONDS
from gomlx.metrics.instruments import Counter, Histogram
from gomlx.models.batching.batcher import Batcher
from gomlx.models.batching.queue import BatchLimits
from gomlx.models.batching.run import RowResult, RunMetrics

_ROWS = (1, 4, 16, 32, 64, 128)
_RATE = 2000
_SECONDS = 0.4
_HIT_SECONDS = 13e-6


def send_hits(port: int, pipe: Connection) -> None:
    """Send hits on command, and report their latencies. Runs in its own process."""
    os.sched_setaffinity(0, {1})
    uvloop.run(_send_hits(port, pipe))


async def _send_hits(port: int, pipe: Connection) -> None:
    sent: dict[int, float] = {}
    latencies: list[float] = []

    class Answers(asyncio.DatagramProtocol):
        def datagram_received(self, data: bytes, _: Any) -> None:
            latencies.append(perf_counter() - sent.pop(int(data)))

    loop = asyncio.get_running_loop()
    to = ("127.0.0.1", port)
    transport, _ = await loop.create_datagram_endpoint(Answers, remote_addr=to)
    while await asyncio.to_thread(pipe.recv):
        latencies.clear()
        due = perf_counter()
        for n in range(int(_RATE * _SECONDS)):
            due += random.expovariate(_RATE)
            if (remaining := due - perf_counter()) > 0:
                await asyncio.sleep(remaining)
            sent[n] = perf_counter()
            transport.sendto(b"%d" % n)
        await asyncio.sleep(0.2)
        pipe.send(sorted(latencies))


class Hits(asyncio.DatagramProtocol):
    """Answers each datagram after the CPU time of a hit."""

    def connection_made(self, transport: Any) -> None:
        """Keep the transport."""
        self._transport = transport

    def datagram_received(self, data: bytes, address: Any) -> None:
        """Spin for the CPU time of a hit, then send the datagram back."""
        until = perf_counter() + _HIT_SECONDS
        while perf_counter() < until:
            pass
        self._transport.sendto(data, address)


class FixedCost:
    """A cost that decides where runs happen, and learns nothing."""

    def __init__(self, is_expensive: bool) -> None:
        self._is_expensive = is_expensive

    def estimate(self, _: int) -> float:
        """Return the seconds of a run."""
        return 1.0  # one run a turn

    def is_expensive(self, _: int) -> bool:
        """Tell whether runs go to a thread."""
        return self._is_expensive

    def observe(self, *_: Any) -> None:
        """Ignore a measured run."""


class ClosedLoop:
    """A job of so many rows, which are added again once all have run, until stopped."""

    def __init__(self, batcher: Batcher, row: Any, rows: int) -> None:
        self._batcher = batcher
        self._row = row
        self._rows = rows
        self._completed = 0
        self.runs = 0
        self.is_stopped = False
        self.add_rows()

    def add_rows(self) -> None:
        """Add all rows to the batcher."""
        for _ in range(self._rows):
            self._batcher.add(self._row, self)

    def is_awaited(self, _: float) -> bool:
        """Return True: the rows are never abandoned."""
        return True

    def complete(self, _: RowResult) -> None:
        """Count a row; after the last one, count a run and add all rows again."""
        self._completed += 1
        if self._completed % self._rows == 0:
            self.runs += 1
            if not self.is_stopped:
                asyncio.get_running_loop().call_soon(self.add_rows)


def servable(folder: Path) -> Any:
    """Return a model of four layers of 512 units: its cost grows with the rows."""
    import numpy as np
    import tensorflow as tf

    from gomlx.models.serving.servable import Servable
    from gomlx.models.staging.stage import stage
    from gomlx.models.version import StageRequest

    module = tf.Module()
    numbers = np.random.default_rng(1).standard_normal((512, 512), np.float32)
    module.weights = tf.Variable(numbers / 22)

    def layers(x: Any) -> Any:
        y = tf.tile(x, [1, 512])
        for _ in range(4):
            y = tf.tanh(y @ module.weights)
        return {"y": tf.reduce_mean(y, 1, keepdims=True)}

    signature = [tf.TensorSpec((None, 1), tf.float32, "x")]
    served = {"serving_default": tf.function(layers, input_signature=signature)}
    tf.saved_model.save(module, str(folder / "model"), served)
    request = StageRequest(
        "m", str(folder / "model"), folder / "staged", "serving_default", {}
    )
    return Servable(stage(request))


async def _measure(model: Any, sock: socket.socket, pipe: Connection) -> None:
    loop = asyncio.get_running_loop()
    await loop.create_datagram_endpoint(Hits, sock=sock)
    _prioritize(2)
    gc.collect()
    gc.freeze()
    pipe.send(True)
    _print("nothing runs", await asyncio.to_thread(pipe.recv), "")
    for rows in _ROWS:
        seconds = min(_timed(model, rows) for _ in range(10))
        for is_expensive in (False, True):
            where = "thread " if is_expensive else "in line"
            name = f"{rows:4d} rows, {seconds * 1e3:6.2f} ms, {where}"
            await _run(model, rows, is_expensive, pipe, name)


def _prioritize(priority: int) -> None:
    """Set the priority of this thread, if `chrt` has allowed it."""
    if os.sched_getscheduler(0) == os.SCHED_RR:
        thread = threading.get_native_id()
        os.sched_setscheduler(thread, os.SCHED_RR, os.sched_param(priority))


def _timed(model: Any, rows: int) -> float:
    started = perf_counter()
    model.run([(1.0,)] * rows)
    return perf_counter() - started


async def _run(
    model: Any, rows: int, is_expensive: bool, pipe: Connection, name: str
) -> None:
    metrics = RunMetrics(
        Counter(), Counter(), Histogram(SECONDS), Histogram(ROWS), Counter()
    )
    cost: Any = FixedCost(is_expensive)

    def run(batch: Sequence[Any]) -> list[bytes]:
        if is_expensive:
            _prioritize(1)
        answers: list[bytes] = model.run(batch)
        return answers

    batcher = Batcher("m", run, BatchLimits(rows, 0, 1 << 20), metrics, cost)
    callers = ClosedLoop(batcher, (1.0,), rows)
    cpu_started = process_time()
    started = perf_counter()
    pipe.send(True)
    latencies = await asyncio.to_thread(pipe.recv)
    cpu = process_time() - cpu_started
    elapsed = perf_counter() - started
    runs = callers.runs
    callers.is_stopped = True
    await asyncio.sleep(0.4)
    batcher.close()
    text = f"{runs / elapsed:7.0f} runs/s, {cpu / runs * 1e6:6.0f} us CPU a run"
    _print(name, latencies, text)


def _print(name: str, latencies: Sequence[float], cost: str) -> None:
    quantiles = (latencies[int(len(latencies) * q)] * 1e3 for q in (0.5, 0.9, 0.99))
    hits = " ".join(f"{one:7.2f}" for one in quantiles)
    sys.stdout.write(f"{name:31s} hits p50, p90, p99 (ms): {hits}   {cost}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure on the first core, with the sender of hits on the second."""
    os.sched_setaffinity(0, {0})
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    arguments = (sock.getsockname()[1], theirs)
    context.Process(target=send_hits, args=arguments, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="gomlx-") as folder:
        uvloop.run(_measure(servable(Path(folder)), sock, ours))


if __name__ == "__main__":
    main()
