"""What a worker has to do at the moment: looked at once a second.

Nothing of it costs a request anything: it is read where it is kept anyway. So is a row
of those that missed, once a second: which inputs have many values? And how late
the event loop is: whatever blocks it delays every connection.
"""

import asyncio
import os
import resource
from time import perf_counter
from typing import Any
from zlib import crc32

from gomlx.contract.tensor import Block, Value
from gomlx.metrics.instruments import Histogram
from gomlx.metrics.metrics import Metrics
from gomlx.metrics.processes import label_of
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.server.asgi.forms import BodyBytes
from gomlx.server.http.connections import Connections

_LOOK_SECONDS = 1.0
_FILES = "/proc/self/fd"
# To count 10,000 open files takes some milliseconds.
_LOOKS_PER_COUNT = 10
_MOST_TEXT = 4096  # of a value, of which a checksum is made
# Whatever blocks the loop for twice as long delays a beat, whenever the block begins.
BEAT_SECONDS = 0.01
_MIN_LAG_SECONDS = 0.001  # less is a timer's own; an idle worker counts nothing


class WorkerLoad:
    """Shows the rows and requests of each model, the connections, bytes and files."""

    def __init__(
        self, slot: int, metrics: Metrics, current: Current, connections: Connections
    ) -> None:
        self._bytes = body_bytes(metrics)
        self._metrics = metrics
        self._current = current
        self._connections = connections
        self._open = metrics.gauge("gomlx_connections")
        self._files = metrics.gauge("process_open_fds", label_of(slot))
        self._looks = 0
        most = metrics.gauge("process_max_fds", label_of(slot))
        most.value = resource.getrlimit(resource.RLIMIT_NOFILE)[0]

    async def follow(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            if self._looks % _LOOKS_PER_COUNT == 1:
                if (changes := self._metrics.values.changes()) is not None:
                    await asyncio.to_thread(self._metrics.values.write, changes)
            await asyncio.sleep(_LOOK_SECONDS)

    def look(self) -> None:
        """Set the gauges; those of models that are gone go as well."""
        names = self._current.names
        for name in names:
            self._look_at(name)
        self._metrics.keep_models(names)
        self._metrics.values.keep_models(names)
        self._open.value = self._connections.places.count(0)
        self._take_bytes()
        if self._looks % _LOOKS_PER_COUNT == 0:
            self._files.value = len(os.listdir(_FILES))
        self._looks += 1

    def _look_at(self, name: str) -> None:
        live = self._current.get(name)
        in_flight = 0 if live is None else live.pins
        rows = 0 if live is None else len(live.batcher)
        seconds = 0.0 if live is None else live.batcher.seconds_ahead
        gauge = self._metrics.gauge
        gauge("gomlx_requests_in_flight", name).value = in_flight
        gauge("gomlx_queue_rows", name).value = rows
        gauge("gomlx_queue_seconds", name).value = seconds
        if live is not None:
            self._sample(name, live)

    def _sample(self, name: str, live: LiveVersion) -> None:
        """Note the values of a row that ran, of those inputs that are in the key."""
        row: Any = live.batcher.take_row()
        if row is None:
            return
        if live.answers_together:
            row = row[0]  # of the request's rows
        fields = zip(live.signature.names, live.dictionary.kinds, row, strict=True)
        keyed = {name: value for name, kind, value in fields if kind.distinct != 1}
        checksums = [*map(_checksum, keyed.values())]
        self._metrics.values.add(name, live.digest, [*keyed], checksums)

    def _take_bytes(self) -> None:
        """Count the bytes of the turns since the last look."""
        carried = self._connections.turn.carried
        self._bytes.received.n += carried.received_bytes
        self._bytes.sent.n += carried.sent_bytes
        carried.received_bytes = 0
        carried.sent_bytes = 0


def _checksum(value: Value) -> int:
    """Return what tells a value from others, of which the beginning is looked at."""
    shape = value.shape if isinstance(value, Block) else ()
    part: Any = value.elements if isinstance(value, Block) else value
    part = part[:_MOST_TEXT] if isinstance(part, str | bytes | tuple) else part
    return crc32(f"{shape} {part!r}".encode(errors="surrogatepass"))


def body_bytes(metrics: Metrics) -> BodyBytes:
    """Return the counters of a worker's bytes."""
    return BodyBytes(
        metrics.counter("gomlx_request_bytes"), metrics.counter("gomlx_response_bytes")
    )


async def watch_loop_lag(lag: Histogram) -> None:
    """Measure how late each beat is, until cancelled; costs 0.05 % of a core."""
    while True:
        due = perf_counter() + BEAT_SECONDS
        await asyncio.sleep(BEAT_SECONDS)
        seconds = perf_counter() - due
        if seconds > _MIN_LAG_SECONDS:
            lag.add(seconds)
