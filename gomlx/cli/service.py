"""Runs the service of a config in this process; makes a config's staging requests."""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Coroutine
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gomlx.cache.redis.signatures import Signer
from gomlx.cache.shared_memory.keeper import StoreKeeper
from gomlx.config.access import exposures, hidden, token_files
from gomlx.config.changes import change_of
from gomlx.config.load import load_config
from gomlx.config.schema import Config, Endpoint, LoadedConfig, Model, Watch
from gomlx.config.tls import load_tls
from gomlx.config.tokens import read_tokens
from gomlx.errors import ConfigInvalid, ModelNotFound
from gomlx.models.version import InputSettings, Settings, StageLimits, StageRequest
from gomlx.runtime.listeners import (
    BoundSocket,
    Listeners,
    bound_to_path,
    bound_to_port,
    lent_sockets,
    url_of,
)
from gomlx.runtime.rundir import Lease, RunDir, replace_privately
from gomlx.runtime.stray import stray_output_logged
from gomlx.supervisor.followed import WatchIntervals
from gomlx.supervisor.notify import Notifier, beside
from gomlx.supervisor.orphans import when_free
from gomlx.supervisor.supervisor import ServiceSettings, ServiceTimes, Supervisor

log = logging.getLogger("gomlx")

_WHEN = {"ready": "once every model answers", "at_once": "as soon as a worker runs"}

# Of all files that the service and its children make, TensorFlow's as well.
_UMASK = 0o077

_ENDING_SECONDS = 10.0  # of processes whose supervisor was killed, beyond their grace

# What runs beside a service, with its URL.
Visit = Callable[[str], Coroutine[Any, Any, bool]]
# Reads the config anew. Raises ConfigInvalid.
Reload = Callable[[], LoadedConfig]


def run_service(
    config: LoadedConfig, visit: Visit | None = None, reload: Reload | None = None
) -> None:
    """Run the service until SIGTERM or SIGINT. SIGHUP has it call reload, if given.

    visit, if given, runs beside the service with its URL; the service stops when it
    returns False. Raises RunDirInUse, ConfigInvalid for a file with a password or keys
    that is not valid or for files that TLS cannot use, GomlxError if the port is in
    use or there is too little memory.
    """
    previous = os.umask(_UMASK)
    try:
        _run_service(config, visit, reload)
    finally:
        os.umask(previous)


def _run_service(
    config: LoadedConfig, visit: Visit | None, reload: Reload | None
) -> None:
    notifier = Notifier.from_environment(os.environ)
    for connection in config.connections:
        connection.read_password()  # fails here rather than in every worker
    check_secret_files(config)
    _make_log_folders(config)
    tls = config.endpoint.tls
    if tls and (warning := load_tls(tls).warning(time.time())):
        log.warning("%s", warning)
    for text in (*exposures(config.endpoint), *hidden(config.endpoint)):
        log.warning("%s", text)
    listeners = _listeners(config.endpoint)
    lease = Lease.acquire(Path(config.run_dir) if config.run_dir else None)
    try:
        source = _Source(config, lease.rundir, reload and notifier.telling(reload))
        url = listeners.urls[0]
        log.info("%s takes connections %s", url, _WHEN[config.endpoint.listen])
        with stray_output_logged():
            settings = _settings(config, lease.rundir)
            supervisor = Supervisor(settings, lease.rundir, listeners, source)
            has_started = partial(_has_started, lease.rundir, listeners)
            notifying = notifier.follow(has_started, supervisor.stopped)
            asyncio.run(beside(_run(supervisor, visit and visit(url)), notifying))
    finally:
        lease.release()
        listeners.close()


def _has_started(rundir: RunDir, listeners: Listeners) -> bool:
    """Whether connections are taken, and by a worker that has loaded its models."""
    return listeners.are_listening and any(rundir.workers.glob("*"))


def _listeners(endpoint: Endpoint) -> Listeners:
    """Bind what the config names, or use what systemd passes. Raises GomlxError."""
    is_tls = endpoint.tls is not None
    admin = _admin_socket(endpoint)
    if lent := lent_sockets(os.environ):
        log.info("systemd passes sockets: host, port and socket are not used")
        return Listeners(lent, is_tls, admin)
    shares = endpoint.reuse_port
    wait = endpoint.graceful_seconds + _ENDING_SECONDS
    port = partial(bound_to_port, endpoint.host, endpoint.port, shares)
    bound = [when_free(port, wait)]
    if endpoint.socket:
        mode = int(endpoint.socket_mode, 8)
        path = partial(bound_to_path, Path(endpoint.socket), mode, shares)
        bound.append(when_free(path, wait))
    return Listeners(bound, is_tls, admin)


def _admin_socket(endpoint: Endpoint) -> BoundSocket | None:
    """Bind the listener of admins, if the config has one. Raises GomlxError."""
    admin = endpoint.admin
    if admin is None or admin.port is None:
        return None
    port = partial(bound_to_port, admin.host, admin.port, endpoint.reuse_port)
    bound = when_free(port, endpoint.graceful_seconds + _ENDING_SECONDS)
    url = url_of(bound.socket, endpoint.tls is not None and admin.tls)
    log.info("details are at %s, and for admins only", url)
    return bound


def _make_log_folders(config: Config) -> None:
    """Raises ConfigInvalid."""
    for folder in config.log_folders:
        try:
            folder.mkdir(0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigInvalid("config", [f"access_log, log: {error}"]) from None
        if not os.access(folder, os.W_OK | os.X_OK):
            problem = f"access_log, log: {folder} cannot be written to"
            raise ConfigInvalid("config", [problem])


def check_secret_files(config: Config) -> None:
    """Read the files of keys and tokens. Raises ConfigInvalid."""
    for option, path in token_files(config.endpoint):
        read_tokens(option, path)
    for connection in config.connections:
        if connection.sign_key_file:
            Signer(connection.sign_key_file)


def prepare_stores(config: Config, rundir: RunDir) -> StoreKeeper:
    """Adopt the stores that an earlier run left in shared memory; create the others.

    A store that is damaged or of another size is replaced by a new one; one that the
    config no longer has is removed. Return what keeps them. Raises GomlxError if there
    is too little memory.
    """
    sizes = {s.id: s.memory_mb << 20 for s in config.datastores if s.memory_mb}
    rundir.keep_stores(sizes)
    keeper = StoreKeeper({rundir.store(name): size for name, size in sizes.items()})
    keeper.start()
    return keeper


class _Source:
    """The config of a service as it is now, and the files that workers read it from.

    reload: reads it anew; None: it is of no file.
    """

    def __init__(
        self, config: LoadedConfig, rundir: RunDir, reload: Reload | None
    ) -> None:
        self._config = config
        self._rundir = rundir
        self._reload = reload
        self._stores = prepare_stores(config, rundir)
        self.keep()

    def keep(self) -> None:
        """Make what is missing of what Gunicorn's master and its workers share."""
        self._rundir.make_state()
        if not self._rundir.config.exists():
            self._write(self._config)
        self._stores.keep()

    def read_again(self) -> ServiceSettings | None:
        """Read the config file. Raises ConfigInvalid, OSError."""
        if self._reload is None:
            log.warning("the service has no config file that it could read again")
            return None
        change = change_of(self._config, self._reload())
        for line in change.left:
            log.warning("%s, and is left as it was", line)
        self._write(change.config)
        self._config = change.config
        logging.getLogger().setLevel(change.config.log_level.upper())
        return _settings(change.config, self._rundir)

    def _write(self, config: LoadedConfig) -> None:
        replace_privately(self._rundir.config, msgspec.json.encode(config))


async def _run(supervisor: Supervisor, visit: Coroutine[Any, Any, bool] | None) -> None:
    if visit is None:
        await supervisor.run()
    else:
        await _run_with_visit(supervisor, visit)


def _settings(config: LoadedConfig, rundir: RunDir) -> ServiceSettings:
    watch = config.watch
    endpoint = config.endpoint
    times = ServiceTimes(
        WatchIntervals(
            watch.poll_seconds,
            watch.settle_seconds,
            watch.stage_seconds,
            watch.stagings,
            watch.patient_seconds,
        ),
        endpoint.drain_seconds,
        endpoint.graceful_seconds,
    )
    if endpoint.listen == "at_once" or (endpoint.admin and endpoint.admin.has_listener):
        times = replace(times, first_seconds=0.0)
    limits = stage_limits(watch)
    requests = [
        replace(
            stage_request(model, rundir.models / model.id),
            confined=config.sandbox,
            limits=limits,
        )
        for model in config.models
    ]
    return ServiceSettings(requests, times)


async def _run_with_visit(
    supervisor: Supervisor, visit: Coroutine[Any, Any, bool]
) -> None:
    """Run both until the service stops; stop it if the visit fails or returns False."""
    serving = asyncio.create_task(supervisor.run())
    visiting = asyncio.create_task(visit)
    await asyncio.wait({serving, visiting}, return_when=asyncio.FIRST_COMPLETED)
    if not visiting.done():
        visiting.cancel()
    elif visiting.exception() or not visiting.result():
        supervisor.stop()
    await serving
    if visiting.done() and not visiting.cancelled():
        visiting.result()  # raises the visit's error


def request_of(model: str, config: Path | None) -> StageRequest:
    """Return the request to stage a model: its id in a config, or without one its URL.

    Raises ModelNotFound, ConfigInvalid.
    """
    if config is None:
        path = model if "://" in model else str(Path(model).absolute())
        return stage_request(Model(id="model", url=path), Path())
    models = {one.id: one for one in load_config(config).models}
    if model not in models:
        raise ModelNotFound(model, models)
    return stage_request(models[model], Path())


def inspection_of(model: str, config: Path | None, signature: str) -> StageRequest:
    """Return the request to stage one signature: a model's own, or a further one.

    With a config, ID:NAME is a further one, too. Raises ModelNotFound, ConfigInvalid.
    """
    if config is None:
        return replace(request_of(model, None), signature=signature, signatures=())
    name, _, further = model.partition(":")
    wanted = signature or further
    return replace(request_of(name, config), signatures=(wanted,) if wanted else ())


def stage_limits(watch: Watch) -> StageLimits:
    """Return what the config lets a staging use."""
    return StageLimits(
        watch.stage_memory_mb or 0, watch.stage_cpu_seconds or 0, watch.trial_seconds
    )


def stage_request(model: Model, into: Path) -> StageRequest:
    """Return the request to stage a configured model into a folder."""
    settings = Settings(
        tuple(InputSettings(**msgspec.structs.asdict(one)) for one in model.inputs),
        model.key_fields,
        model.transformer or "",
        model.batch.rows,
        model.libraries,
        model.tags,
        model.outputs,
        model.batch.threads or 0,
        model.allow_operations,
    )
    wanted = {"all": None, "none": ()}
    signatures = model.signatures
    return StageRequest(
        model.id,
        model.url,
        into,
        model.signature or "",
        model.example,
        settings,
        wanted[signatures] if isinstance(signatures, str) else signatures,
    )
