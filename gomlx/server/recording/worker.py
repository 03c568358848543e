"""What records the requests of a worker: made from the config, after the fork."""

import logging
import os
from typing import TYPE_CHECKING

from gomlx import __version__
from gomlx.cache.redis.address import parse
from gomlx.config.schema import Config, Connection
from gomlx.server.recording.heads import Recording
from gomlx.server.recording.requests import Recorder
from gomlx.tracing.trace import Attributes

if TYPE_CHECKING:
    from gomlx.server.predict.predictor import Predictor

log = logging.getLogger(__name__)


def recording_of(config: Config, predictor: "Predictor") -> Recording:
    """Return what decides which requests are recorded, and records them."""
    tracing = config.tracing
    if tracing is None:
        return Recording()
    # Imported by those who use it: the SDK takes a third of a second.
    from gomlx.tracing.exporter import TraceExporter, sample_ratio

    exporter = TraceExporter.over_http(
        tracing.endpoint, tracing.service_name, __version__
    )
    tiers = {one.id: _attributes(one) for one in config.connections}
    recorder = Recorder(exporter, predictor.models, tiers)
    try:
        ratio = sample_ratio(tracing.sample_ratio, os.environ)
    except ValueError as error:
        log.error("%s: no request is recorded by chance", error)
        ratio = 0.0
    return Recording(recorder, ratio)


def _attributes(connection: Connection) -> Attributes:
    """Return what the spans of a shared tier tell, by OpenTelemetry's conventions."""
    about: dict[str, str | int | float | bool] = {
        "db.system.name": "redis",
        "db.operation.name": "MGET",
    }
    address = parse(connection.url)
    if address.hosts:
        host, port = address.hosts[0]
        about |= {"server.address": host, "server.port": port}
    about["db.namespace"] = str(address.database)
    return about
