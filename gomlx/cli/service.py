"""Running the service of a config, and what staging needs of one."""

import asyncio
import logging
import socket
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from gomlx.cache.shared_memory.store import adopt_store, create_store
from gomlx.config.load import load_config
from gomlx.config.schema import Config, Model
from gomlx.config.tls import load_tls
from gomlx.errors import ModelNotFound
from gomlx.models.version import Settings, StageRequest
from gomlx.runtime.process import listen, url_of
from gomlx.runtime.rundir import Lease, RunDir, write_privately
from gomlx.supervisor.supervisor import Supervisor, Timing

log = logging.getLogger("gomlx")


def run_service(
    config: Config, visit: Callable[[str], Coroutine[Any, Any, bool]] | None = None
) -> None:
    """Run the service until it is told to stop.

    visit, if given, runs beside it with its URL; the service stops when it returns
    False. Raises RunDirInUse, ConfigInvalid without a password that a file should
    hold or with files that TLS cannot use, GomlxError when the port is taken or memory
    is short.
    """
    for connection in config.connections:
        connection.read_password()  # better now than in a worker
    tls = config.endpoint.tls
    if tls and (warning := load_tls(tls).warning(time.time())):
        log.warning("%s", warning)
    listener = listen(config.endpoint.host, config.endpoint.port)
    lease = Lease.acquire(Path(config.run_dir) if config.run_dir else None)
    try:
        prepare_stores(config, lease.rundir)
        log.info("listening at %s", url_of(listener, tls is not None))
        write_privately(lease.rundir.config, msgspec.json.encode(config))
        asyncio.run(_run(config, lease.rundir, listener, visit))
    finally:
        lease.release()
        listener.close()


def prepare_stores(config: Config, rundir: RunDir) -> None:
    """Keep what an earlier run has left in shared memory, if it is sound; else anew."""
    sizes = {s.id: s.memory_mb << 20 for s in config.datastores if s.memory_mb}
    rundir.keep_stores(sizes)
    # First all that stay or go: a store that has grown needs the room of the others.
    kept = {name for name in sizes if adopt_store(rundir.store(name), sizes[name])}
    for name in sizes.keys() - kept:
        create_store(rundir.store(name), sizes[name])


async def _run(
    config: Config,
    rundir: RunDir,
    listener: socket.socket,
    visit: Callable[[str], Coroutine[Any, Any, bool]] | None,
) -> None:
    watch, graceful = config.watch, config.endpoint.graceful_seconds
    timing = Timing(
        watch.poll_seconds, watch.settle_seconds, watch.stage_seconds, graceful
    )
    requests = [
        stage_request(model, rundir.models / model.id) for model in config.models
    ]
    supervisor = Supervisor(requests, rundir, listener, timing)
    if visit is None:
        await supervisor.run()
        return
    serving = asyncio.create_task(supervisor.run())
    url = url_of(listener, config.endpoint.tls is not None)
    visiting = asyncio.create_task(visit(url))
    await asyncio.wait({serving, visiting}, return_when=asyncio.FIRST_COMPLETED)
    if not visiting.done():
        visiting.cancel()
    elif visiting.exception() or not visiting.result():
        supervisor.stop()
    await serving
    if visiting.done() and not visiting.cancelled():
        visiting.result()  # raises what went wrong


def request_of(model: str, config: Path | None) -> StageRequest:
    """Return the request for a model of a config; without a config, for its path."""
    if config is None:
        path = model if "://" in model else str(Path(model).absolute())
        return stage_request(Model(id="model", url=path), Path())
    models = {one.id: one for one in load_config(config).models}
    if model not in models:
        raise ModelNotFound(model, models)
    return stage_request(models[model], Path())


def stage_request(model: Model, into: Path) -> StageRequest:
    """Return what staging needs to know of a configured model."""
    settings = Settings(
        {i.name: i.precision for i in model.inputs if i.precision is not None},
        tuple(i.name for i in model.inputs if i.wildcard),
        tuple(i.name for i in model.inputs if i.auxiliary),
        model.key_fields,
        model.transformer or "",
    )
    return StageRequest(
        model.id, model.url, into, model.signature, model.example, settings
    )
