"""How a run of the suite reaches its server, and the hooks that it was given."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from gomlx.conformance.formats import mlserver, savedmodel, triton
from gomlx.conformance.protocols.call import Speaker
from gomlx.conformance.protocols.mly import Mly
from gomlx.conformance.protocols.oip import Oip
from gomlx.conformance.protocols.tfserving import TfServing
from gomlx.conformance.recipe import Recipe


class ProtocolName(StrEnum):
    """A protocol of predictions."""

    mly = "mly"
    tfserving = "tfserving"
    oip = "oip"


class FormatName(StrEnum):
    """What the server loads models from."""

    savedmodel = "savedmodel"
    triton = "triton"
    mlserver = "mlserver"


class LoadName(StrEnum):
    """How the server learns of new files: it watches them, or loads on request."""

    watch = "watch"
    api = "api"


SPEAKERS: dict[ProtocolName, Speaker] = {
    ProtocolName.mly: Mly(),
    ProtocolName.tfserving: TfServing(),
    ProtocolName.oip: Oip(),
}
WRITERS: dict[FormatName, Callable[[Path, int, Recipe, Path], None]] = {
    FormatName.savedmodel: savedmodel.write,
    FormatName.triton: triton.write,
    FormatName.mlserver: mlserver.write,
}


@dataclass(frozen=True)
class Server:
    """A server's URL, and the folder with a folder for each of its models."""

    url: str
    models: Path


@dataclass(frozen=True)
class RunOptions:
    """What a run needs. A hook that is None makes its checks not apply."""

    server: Server
    protocol: ProtocolName = ProtocolName.mly
    format: FormatName = FormatName.savedmodel
    load: LoadName = LoadName.watch
    wait_seconds: float = 120.0
    timeout_seconds: float = 30.0
    restart_command: str | None = None
    redis_url: str | None = None
    ttl_seconds: float | None = None
    other: Server | None = None
