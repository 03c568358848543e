"""A service from Python: `serve` blocks, `running` lasts as long as a `with` block.

The service is processes of its own: the caller's has neither its event loop nor
TensorFlow, and may be a notebook or a test.
"""

import json
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Any
from urllib.error import HTTPError
from urllib.request import urlopen

from gomlx.errors import GomlxError, NotReady

if TYPE_CHECKING:
    from gomlx.config.schema import LoadedConfig

ServiceSource = str | Path | Sequence[str | Path] | Mapping[str, Any]

_POLL_SECONDS = 0.05
_STOP_SECONDS = 20.0  # beyond the graceful time of the config


@dataclass(frozen=True)
class RunningService:
    """A service that runs. url: such as http://127.0.0.1:40123, for a `Client`."""

    url: str
    process: "subprocess.Popen[str]"

    def is_running(self) -> bool:
        """Whether its first process has not ended."""
        return self.process.poll() is None


def serve(
    source: ServiceSource, *, port: int | None = None, cache_mb: int = 256
) -> None:
    """Serve until SIGTERM or Ctrl-C. Needs the extra `server`, and the main thread.

    source: a config file (.yaml or .yml), or its content as a dict; or a SavedModel, or
    several, each served under the name of its folder. port and cache_mb (of memory for
    answers; 0: none) are for models without a config; port 0 is any free one.

    Raises ConfigInvalid; GomlxError if the port is in use or there is too little
    memory.
    """
    from gomlx.cli.service import run_service
    from gomlx.runtime.logs import log_to_stderr

    config = _config(source, port, cache_mb)
    log_to_stderr(config.log_level, config.log_format)
    run_service(config, reload=partial(_config, source, port, cache_mb))


@contextmanager
def running(
    source: ServiceSource,
    *,
    port: int = 0,
    cache_mb: int = 256,
    timeout: float = 120.0,
) -> Iterator[RunningService]:
    """Have a service run while the block does; enter it once all models answer.

        with gomlx.running("./ranking") as service:
            client = gomlx.Client("ranking", service.url)

    source, port and cache_mb are those of `serve`; a config has a port of its own. The
    service logs to standard error, and stops with this process, however that ends.

    Raises ConfigInvalid; NotReady if a model cannot be served, or not within timeout
    seconds; GomlxError if the service ends.
    """
    config = _config(source, port, cache_mb)
    command = [sys.executable, "-m", "gomlx", "run"]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the block
    )
    limit = config.endpoint.graceful_seconds + _STOP_SECONDS
    with process:
        try:
            yield RunningService(_url(process, config, timeout), process)
        finally:
            _stop(process, limit)


def _config(source: ServiceSource, port: int | None, cache_mb: int) -> "LoadedConfig":
    from gomlx.config.load import config_of, load_config
    from gomlx.config.models import config_of_models

    if isinstance(source, Mapping):
        return config_of(source, Path.cwd())
    sources = [source] if isinstance(source, str | Path) else [*source]
    urls = [str(one) for one in sources]
    if len(urls) == 1 and urls[0].endswith((".yaml", ".yml")):
        return load_config(Path(urls[0]))
    return config_of_models(urls, port, cache_mb)


def _url(
    process: "subprocess.Popen[str]", config: "LoadedConfig", timeout: float
) -> str:
    """Have a process serve a config; return the URL once all models answer."""
    from gomlx.config.load import encoded

    assert process.stdin
    assert process.stdout
    deadline = time.monotonic() + timeout
    impatience = Timer(timeout, process.kill)
    impatience.start()
    try:
        with suppress(BrokenPipeError):
            process.stdin.write(encoded(config) + "\n")
            process.stdin.flush()
        line = process.stdout.readline()
    finally:
        impatience.cancel()
    if not line:
        raise GomlxError("the service has ended; its last lines say why")
    url: str = json.loads(line)["url"]
    _wait(url, process, deadline)
    return url


def _wait(url: str, process: "subprocess.Popen[str]", deadline: float) -> None:
    trust = ssl.create_default_context()
    trust.check_hostname = False  # it is a process of ours
    trust.verify_mode = ssl.CERT_NONE
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise GomlxError("the service has ended; its last lines say why")
        try:
            with urlopen(f"{url}/readyz", timeout=5, context=trust):
                return
        except HTTPError as error:
            if problem := _problem(json.load(error)):
                raise NotReady.from_message(problem) from None
        except OSError:
            pass  # no worker has started yet
        time.sleep(_POLL_SECONDS)
    raise NotReady.from_message("the models are not loaded in time")


def _problem(document: Mapping[str, Any]) -> str:
    """Return why models cannot be served; empty: they may soon be ready."""
    return "; ".join(
        f"model {name!r}: {model['problem']}"
        for name, model in document.get("models", {}).items()
        if not model["ready"] and "problem" in model and ":" not in name
    )


def _stop(process: "subprocess.Popen[str]", limit: float) -> None:
    assert process.stdin
    with suppress(BrokenPipeError):
        process.stdin.close()  # it stops gracefully
    try:
        process.wait(limit)
    except subprocess.TimeoutExpired:
        process.kill()
