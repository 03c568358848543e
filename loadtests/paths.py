"""The files that a hit, a miss, a streamed row, a reload and a client's row pass.

    python -m loadtests.paths            # print the lists
    python -m loadtests.paths --write    # write them to docs/internals/request.md

Everything runs in this process, over real parts: a service of one model that is staged
here, connections whose transports drop what is written, a store in shared memory. The
interpreter's profiler reports calls. A file is listed when it is first entered; a call
from a function of one file to a function of another is a crossing of the two. Reading
an attribute enters no file; counters (`gomlx/metrics`) are left out.
"""

import asyncio
import json
import os
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import gomlx
from gomlx.server.access.caller import Caller, with_caller
from gomlx.server.access.certificate import ANONYMOUS
from loadtests.code.tracer import Trace, Tracer

ROOT = Path(gomlx.__file__).parent
PAGE = ROOT.parent / "docs" / "internals" / "request.md"
BEGIN = "<!-- paths: begin -->"
END = "<!-- paths: end -->"
HIT = "A hit of a recurring request"
FIRST_HIT = "A first hit, of a text that was not seen before"
# Tasks of a worker that run beside every path, and counters.
_BESIDE = (
    "metrics/",
    "server/process/configuring.py",
    "server/process/load.py",
    "server/process/run_watch.py",
    "server/process/service.py",
)
_BEHIND_SECONDS = 0.3  # until work that follows a response has ended
_RELOAD_SECONDS = 3.0
_PATH = "/v1/api/model/S"
_INPUTS = ("sa", "sl")  # of S
_SCOPE: dict[str, Any] = {
    "type": "http",
    "asgi": {"version": "3.0", "spec_version": "2.3"},
    "http_version": "1.1",
    "method": "POST",
    "path": f"{_PATH}/stream",
    "raw_path": f"{_PATH}/stream".encode(),
    "query_string": b"",
    "headers": [(b"host", b"h")],
    "server": ("127.0.0.1", 80),
    "client": ("127.0.0.1", 1),
    "scheme": "http",
}


class _Transport(asyncio.Transport):
    """A transport that drops what is written, and notes that there was something."""

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


def _row(n: int) -> dict[str, str]:
    """Return a row that differs from those of all other numbers for the model, too."""
    return dict.fromkeys(_INPUTS, f"row {n}")


def _post(row: dict[str, str]) -> bytes:
    body = json.dumps(row).encode()
    head = (
        f"POST {_PATH}/eval HTTP/1.1\r\nhost: h\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class _Caller:
    """A service, and one connection to it."""

    def __init__(self, service: Any) -> None:
        from gomlx.server.http.protocol import HotProtocol

        self._service = service
        self._transport = _Transport()
        self._connection = HotProtocol(service.connections)
        self._connection.connection_made(self._transport)

    async def predict(self, row: dict[str, str]) -> None:
        """Request one row, and wait for the response."""
        self._transport.written.clear()
        self._connection.data_received(_post(row))
        await self._transport.written.wait()

    async def stream(self, row: dict[str, str]) -> None:
        """Send one line to the route of streams, as an ASGI server does."""
        body = json.dumps(row).encode()
        parts = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            return parts.pop() if parts else {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            """Drop it."""

        scope = with_caller(_SCOPE, Caller("127.0.0.1", ANONYMOUS))
        await self._service.app(scope, receive, send)


class _Served:
    """The model S, staged in two versions that differ in a setting."""

    def __init__(self, config: Any, rundir: Any) -> None:
        from gomlx.cli.service import prepare_stores

        prepare_stores(config, rundir)
        self._rundir = rundir
        self._versions = _staged(config, rundir)

    def publish(self, index: int) -> None:
        """Make one of the two versions live."""
        from gomlx.models.version import Manifest

        Manifest({"S": self._versions[index]}).write(self._rundir.manifest)


_SIGNATURE = "serving_default"


def _staged(config: Any, rundir: Any) -> list[Any]:
    from gomlx.models.staging.stage import stage
    from gomlx.models.version import InputSettings, Settings, StageRequest

    (model,) = config.models
    into = rundir.models / model.id
    wildcards = tuple(InputSettings(name, wildcard=True) for name in _INPUTS)
    return [
        stage(StageRequest(model.id, model.url, into, _SIGNATURE, {}, Settings(some)))
        for some in (wildcards, wildcards[:1])
    ]


@asynccontextmanager
async def _running(config: Any, rundir: Any) -> AsyncIterator[_Caller]:
    """Run a service in this process, until all that happens once has happened."""
    from gomlx.server.http.places import Places
    from gomlx.server.process.hooks import WorkerHooks
    from gomlx.server.process.service import Service

    places = Places(100, int, lambda address: False)
    hooks = WorkerHooks(
        None,
        lambda _: asyncio.Protocol(),
        lambda: None,
        places,
        lambda peer: False,
        lambda: None,
    )
    service = Service(config, rundir, hooks)
    await service.startup()
    caller = _Caller(service)
    for n in range(3):
        await caller.predict(_row(n))
        await caller.stream(_row(n))
    await asyncio.sleep(_BEHIND_SECONDS)
    yield caller
    service.stop_accepting()
    await service.shutdown()


async def _trace_service(tracer: Tracer, caller: _Caller) -> dict[str, Trace]:
    """Trace one row: computed by the model, found in the cache, and by its text."""
    found: dict[str, Trace] = {}
    with tracer.tracing() as miss:
        await caller.predict(_row(10))
        await asyncio.sleep(_BEHIND_SECONDS)  # the answer is written behind
    with tracer.tracing() as first_hit:
        await caller.predict(_row(10))
    await caller.predict(_row(10))
    with tracer.tracing() as found[HIT]:
        await caller.predict(_row(10))
    found[FIRST_HIT] = first_hit
    found["A miss"] = miss
    with tracer.tracing() as found["A streamed row, a hit"]:
        await caller.stream(_row(10))
    return found


async def _trace_client(tracer: Tracer) -> Trace:
    """Trace a batch of one row that the client has and one that it requests."""
    transport = gomlx.FakeTransport(
        lambda row: {"y": 1.0}, dict.fromkeys("ab", "string")
    )
    async with gomlx.AsyncClient("S", "http://fake", transport=transport) as client:
        await client.predict(a="1", b="1")
        with tracer.tracing() as trace:
            await client.predict_batch({"a": ["1", "2"], "b": ["1", "2"]})
    return trace


async def _trace_reload(tracer: Tracer, served: _Served) -> Trace:
    with tracer.tracing() as trace:
        served.publish(1)
        os.kill(os.getpid(), signal.SIGUSR2)
        await asyncio.sleep(_RELOAD_SECONDS)
    return trace


async def _trace(folder: Path, config: Any) -> dict[str, Trace]:
    from gomlx.runtime.rundir import Lease

    lease = Lease.acquire(folder / "run")
    served = _Served(config, lease.rundir)
    served.publish(0)
    tracer = Tracer(ROOT, _BESIDE)
    async with _running(config, lease.rundir) as caller:
        found = await _trace_service(tracer, caller)
        found["A client's batch, partly in its cache"] = await _trace_client(tracer)
        found["A reload, in a worker"] = await _trace_reload(tracer, served)
    lease.release()
    return found


def trace_all() -> dict[str, Trace]:
    """Trace each path, by its name, in a service of its own."""
    from gomlx.config.schema import Config, Datastore, Model
    from loadtests.load.ranking import lookups

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        lookups(folder / "S")
        model = Model(id="S", url=str(folder / "S"), datastore="answers")
        config = Config(
            models=(model,), datastores=(Datastore(id="answers", memory_mb=8),)
        )
        return asyncio.run(_trace(folder, config))


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
    """Write the lists; or print them, and the pairs of files with most crossings."""
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
        lines.append(f"{name}, most crossings: {most}")
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
