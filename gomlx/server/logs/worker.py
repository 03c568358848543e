"""The logs of requests of one worker, as its config has them."""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from gomlx.config.schema import AccessLog, Config, LineFile, RequestLog
from gomlx.metrics.instruments import Counter
from gomlx.runtime.networks import Networks
from gomlx.server.http.connections import Connections
from gomlx.server.http.ids.field import RequestIds
from gomlx.server.http.ids.protocol import IdentifyingProtocol
from gomlx.server.http.protocol import HotProtocol
from gomlx.server.logs.access import AccessRecorder
from gomlx.server.logs.asgi import LoggedApp
from gomlx.server.logs.hot import LoggedIdentifyingProtocol, LoggedProtocol
from gomlx.server.logs.rows import RowRecorder
from gomlx.server.logs.sampling import Sampler
from gomlx.server.logs.sinks import RotatingFile, SharedOutput, Sink
from gomlx.server.logs.writer import LineCounts, LineWriter

if TYPE_CHECKING:
    from gomlx.server.http.http2.requests import MakeRequests

_Application = Callable[..., Awaitable[None]]


class LogCounters(Protocol):
    """Where the counters of lines come from."""

    def counter(self, name: str, /, *labels: str) -> Counter:
        """Return the counter with these label values."""


class WorkerLogs:
    """The access log, if there is one, and the logs of models.

    What has no log is what it is without: not even a test whether it has one.
    """

    def __init__(
        self, config: Config, slot: int, shared: Path, metrics: LogCounters
    ) -> None:
        """slot: the worker's number. shared: a folder that all workers have."""
        self._slot = slot
        self._lock = shared / "stdout.lock"
        self._proxies = Networks(config.endpoint.trusted_proxies)
        self._metrics = metrics
        self._writers: dict[str, LineWriter] = {}
        self._counts: list[LineCounts] = []
        self._access = config.access_log and self._access_recorder(config.access_log)
        self.rows = {
            model.id: self._row_recorder(model.id, model.log)
            for model in config.models
            if model.log
        }

    def hot_protocol(self) -> Callable[[Connections], HotProtocol]:
        """Return what makes the protocol of a connection whose requests have no ids."""
        return partial(LoggedProtocol, self._access) if self._access else HotProtocol

    def identifying_protocol(
        self, ids: RequestIds
    ) -> Callable[[Connections], HotProtocol]:
        """Return what makes the protocol of one whose requests have ids."""
        if self._access:
            return partial(LoggedIdentifyingProtocol, self._access, ids)
        return partial(IdentifyingProtocol, ids)

    @property
    def tell_peers(self) -> bool:
        """Whether it matters whose request it is."""
        return self._access is not None

    def http2_requests(self) -> "MakeRequests":
        """Return what makes the requests of a connection of HTTP/2."""
        # Not above: the library of HTTP/2 may be missing.
        from gomlx.server.http.http2.requests import Requests
        from gomlx.server.logs.http2 import LoggedRequests

        return partial(LoggedRequests, self._access) if self._access else Requests

    def logged(self, app: _Application) -> _Application:
        """Return an application with an access log, or itself."""
        return LoggedApp(self._access, app) if self._access else app

    def tick(self) -> None:
        """Count the lines that were written. Called once a second."""
        for counts in self._counts:
            counts.tick()

    def close(self) -> None:
        """Write what waits, unless that takes long. Any thread may call it."""
        for writer in self._writers.values():
            writer.close()

    def _access_recorder(self, options: AccessLog) -> AccessRecorder:
        return AccessRecorder(
            Sampler(options.sample),
            self._writer(options),
            self._line_counts("access", ""),
            options.queries,
            self._proxies,
        )

    def _row_recorder(self, model: str, options: RequestLog) -> RowRecorder:
        return RowRecorder(
            Sampler(options.sample),
            self._writer(options),
            self._line_counts("rows", model),
            None if options.fields == "all" else frozenset(options.fields),
        )

    def _line_counts(self, log: str, model: str) -> LineCounts:
        counter = partial(self._metrics.counter, "gomlx_log_lines", log, model)
        counts = LineCounts(counter)
        self._counts.append(counts)
        return counts

    def _writer(self, options: LineFile) -> LineWriter:
        """Return the writer to a destination; logs that name the same one share it."""
        if options.to not in self._writers:
            self._writers[options.to] = LineWriter(self._sink(options))
        return self._writers[options.to]

    def _sink(self, options: LineFile) -> Sink:
        if options.to == "stdout":
            return SharedOutput(self._lock)
        path = worker_file(Path(options.to), self._slot)
        return RotatingFile(path, options.max_mb << 20, options.keep)


def worker_file(path: Path, slot: int) -> Path:
    """Return the file of one worker: rows.0.jsonl for rows.jsonl."""
    return path.with_name(f"{path.stem}.{slot}{path.suffix}")
