"""The files that a hit, a miss, a streamed row, a reload and a client's row pass.

    python -m loadtests.paths            # print the lists
    python -m loadtests.paths --write    # write them to docs/internals/request.md

Everything runs in this process, over real parts: a service of one model that is staged
here, its connections with transports that only keep what is written, a store in shared
memory. Calls are seen by the interpreter's profiler; a file is listed when it is first
entered, and each time that a function of one file calls one of another counts as a
crossing of the two. What only reads an attribute enters no file, and counters
(`gomlx/metrics`) are left out.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

import gomlx

ROOT = Path(gomlx.__file__).parent
PAGE = ROOT.parent / "docs" / "internals" / "request.md"
BEGIN = "<!-- paths: begin -->"
END = "<!-- paths: end -->"


HIT = "A hit of a recurring request"
FIRST_HIT = "A first hit, of a text that was not seen before"

# Tasks of a worker that run beside every path, and counters.
_BESIDE = ("metrics/", "server/process/service.py", "server/process/loop_lag.py")


@dataclass
class Trace:
    """The files that were entered, in order, and the crossings of each pair."""

    files: list[str] = field(default_factory=list)
    crossings: Counter[tuple[str, str]] = field(default_factory=Counter)

    def enter(self, entered: str, caller: str | None) -> None:
        if entered not in self.files:
            self.files.append(entered)
        if caller and caller != entered:
            first, second = sorted((caller, entered))
            self.crossings[first, second] += 1


class _Tracer:
    """A profiler for this thread and those that it starts; keeps the current trace."""

    def __init__(self) -> None:
        self._trace: Trace | None = None
        threading.setprofile(self)
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        trace = self._trace
        if trace is None or event != "call":
            return
        entered = _file(frame)
        if entered is not None:
            trace.enter(entered, frame.f_back and _file(frame.f_back))

    @contextmanager
    def tracing(self) -> Iterator[Trace]:
        self._trace = found = Trace()
        try:
            yield found
        finally:
            self._trace = None


@cache
def _ours(path: str) -> str | None:
    if not Path(path).is_relative_to(ROOT):
        return None
    file = str(Path(path).relative_to(ROOT))
    return None if file.startswith(_BESIDE) else file


def _file(frame: FrameType) -> str | None:
    is_import = frame.f_code.co_name == "<module>"
    return None if is_import else _ours(frame.f_code.co_filename)


class _Transport(asyncio.Transport):
    """A transport that keeps what is written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.set()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return default

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self.written.set()


_REST_SECONDS = 0.3  # until what runs behind an answer has ended
_RELOAD_SECONDS = 3.0
_PATH = "/v1/api/model/S"
_WORDS = ("sa", "sl")  # the inputs of S


def _row(n: int) -> dict[str, str]:
    """A row that no other number has, as far as the model knows."""
    return dict.fromkeys(_WORDS, f"row {n}")


def _post(row: dict[str, str]) -> bytes:
    body = json.dumps(row).encode()
    head = (
        f"POST {_PATH}/eval HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Caller:
    """One connection to a service, and its peer."""

    def __init__(self, service: Any) -> None:
        from gomlx.server.http.protocol import HotProtocol

        self._transport = _Transport()
        self._connection = HotProtocol(service.connections)
        self._connection.connection_made(self._transport)

    async def predict(self, row: dict[str, str]) -> None:
        self._transport.written.clear()
        self._connection.data_received(_post(row))
        await self._transport.written.wait()


async def _stream(service: Any, row: dict[str, str]) -> None:
    """Send one line to the stream's route, as an ASGI server would."""
    parts = [
        {"type": "http.request", "body": json.dumps(row).encode(), "more_body": False}
    ]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": f"{_PATH}/stream",
        "raw_path": f"{_PATH}/stream".encode(),
        "query_string": b"",
        "headers": [],
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }

    async def receive() -> dict[str, Any]:
        return parts.pop() if parts else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        """Drop it."""

    await service.app(scope, receive, send)


async def _client(tracer: _Tracer) -> Trace:
    """Trace a batch of which the client has one row, and a host the other."""
    transport = gomlx.FakeTransport(
        lambda row: {"y": 1.0}, dict.fromkeys("ab", "string")
    )
    async with gomlx.AsyncClient("S", "http://fake", transport=transport) as client:
        await client.predict(a="1", b="1")
        with tracer.tracing() as trace:
            await client.predict_batch({"a": ["1", "2"], "b": ["1", "2"]})
    return trace


async def _requests(service: Any, tracer: _Tracer) -> dict[str, Trace]:
    """Trace one row: answered by the model, from the cache, and by its text."""
    found: dict[str, Trace] = {}
    caller = _Caller(service)
    for n in range(3):  # what is imported and made once
        await caller.predict(_row(n))
        await _stream(service, _row(n))
    await asyncio.sleep(_REST_SECONDS)
    with tracer.tracing() as miss:
        await caller.predict(_row(10))
        await asyncio.sleep(_REST_SECONDS)  # the answer is written behind
    with tracer.tracing() as first_hit:
        await caller.predict(_row(10))
    await caller.predict(_row(10))
    with tracer.tracing() as found[HIT]:
        await caller.predict(_row(10))
    found[FIRST_HIT] = first_hit
    found["A miss"] = miss
    with tracer.tracing() as found["A streamed row, a hit"]:
        await _stream(service, _row(10))
    return found


async def _paths(folder: Path, config: Any) -> dict[str, Trace]:
    from gomlx.models.version import Manifest
    from gomlx.runtime.rundir import Lease
    from gomlx.server.process.service import Service, WorkerHooks

    lease = Lease.acquire(folder / "run")
    rundir = lease.rundir
    _prepare(config, rundir)
    hooks = WorkerHooks(None, asyncio.Protocol, lambda: None, lambda change: 1)
    tracer = _Tracer()
    service = Service(config, rundir, hooks)
    versions = _staged(config, rundir)
    Manifest({"S": versions[0]}).write(rundir.manifest)
    await service.startup()
    found = await _requests(service, tracer)
    found["A client's batch, partly known"] = await _client(tracer)
    with tracer.tracing() as found["A reload, in a worker"]:
        Manifest({"S": versions[1]}).write(rundir.manifest)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(_RELOAD_SECONDS)
    service.stop_accepting()
    await service.shutdown()
    lease.release()
    return found


def _prepare(config: Any, rundir: Any) -> None:
    from gomlx.cli.service import prepare_stores

    prepare_stores(config, rundir)


def _staged(config: Any, rundir: Any) -> list[Any]:
    """Stage two versions of the model, which differ in a setting."""
    from gomlx.models.staging.stage import stage
    from gomlx.models.version import Settings, StageRequest

    (model,) = config.models
    into = rundir.models / model.id
    wildcards = tuple[str, ...](_WORDS)
    return [
        stage(
            StageRequest(
                model.id, model.url, into, model.signature, {}, Settings(wildcards=w)
            )
        )
        for w in (wildcards, wildcards[:1])
    ]


def trace_all() -> dict[str, Trace]:
    """Trace each path over a service of its own."""
    from gomlx.config.schema import Config, Datastore, Model
    from loadtests.load.ranking import lookups

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lookups(folder / "S")
        model = Model(id="S", url=str(folder / "S"), datastore="answers")
        config = Config(
            models=(model,), datastores=(Datastore(id="answers", memory_mb=8),)
        )
        return asyncio.run(_paths(folder, config))


def markdown(traces: dict[str, Trace]) -> list[str]:
    """Return the lists for docs/internals/request.md."""
    return [line for name, trace in traces.items() for line in _list(name, trace)]


def _list(name: str, trace: Trace) -> list[str]:
    (_, most), *_ = trace.crossings.most_common(1)
    files = [f"{n}. `{file}`" for n, file in enumerate(trace.files, 1)]
    times = {1: "once", 2: "twice"}.get(most, f"{most} times")
    title = f"**{name}**: {len(trace.files)} files, no two crossed more than {times}."
    return ["", title, "", *files]


def main(arguments: Sequence[str]) -> None:
    """Print the lists, and the pairs of files that are crossed most; or write them."""
    traces = trace_all()
    lines = markdown(traces)
    if "--write" in arguments:
        before, _, rest = PAGE.read_text().partition(BEGIN)
        after = rest.partition(END)[2]
        PAGE.write_text("\n".join([before + BEGIN, *lines, "", END + after]))
        return
    for name, trace in traces.items():
        most = ", ".join(
            f"{a} and {b}: {n}" for (a, b), n in trace.crossings.most_common(3)
        )
        lines.append(f"{name}, crossed most: {most}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
