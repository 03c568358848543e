"""Builds what answers the requests of each route from the config."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from gomlx.config.load import masked_config
from gomlx.config.schema import Config, Endpoint
from gomlx.metrics.history import RecentPoints
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current
from gomlx.models.version import Manifest
from gomlx.runtime.process import most_connections
from gomlx.runtime.rundir import RunDir
from gomlx.server.body import BodyBudget
from gomlx.server.http.ids.field import RequestIds
from gomlx.server.http.limits import HttpLimits
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.pace import Pace
from gomlx.server.predict.predictor import Predictor
from gomlx.server.process.stores import Store
from gomlx.server.process.tier_usage import TierUsages
from gomlx.server.recording.heads import Recording
from gomlx.server.routes.app import Handlers
from gomlx.server.routes.eval import EvalRoute
from gomlx.server.routes.health import Health
from gomlx.server.routes.meta.contracts import ContractRoute, Contracts, ModelSettings
from gomlx.server.routes.meta.explained import Explanations, KeyRoute
from gomlx.server.routes.meta.kept import KeptRoute
from gomlx.server.routes.meta.mly_meta import MlyMeta
from gomlx.server.routes.metrics import MetricsRoute, ServiceState, StateMetrics
from gomlx.server.routes.mly_operations import Operations
from gomlx.server.routes.page.stats import Stats
from gomlx.server.routes.stream import StreamLimits, StreamRoute

_LINES_SECONDS = 0.001  # of a turn for lines of streams: hits wait for one of them


@dataclass(frozen=True)
class WorkerParts:
    """The parts of a worker that its routes share.

    stores: by datastore.
    """

    current: Current
    predictor: Predictor
    stores: Mapping[str, Store]
    metrics: Metrics
    certificates: Certificates | None
    limits: HttpLimits
    recording: Recording


def build_handlers(config: Config, rundir: RunDir, parts: WorkerParts) -> Handlers:
    """Return what the routes need, as plain values and typed settings."""
    manifest = partial(Manifest.read, rundir.manifest)
    usages = TierUsages(parts.stores, rundir.metrics)
    service = ServiceState(config.workers, rundir.draining.exists, usages.metrics)
    states = StateMetrics(parts.current, manifest, service, parts.certificates)
    tiers = partial(_tier_details, parts.stores)
    health = Health(
        parts.current, manifest, tiers, parts.certificates, rundir.draining.exists
    )
    stats = Stats(
        health,
        parts.current,
        parts.metrics,
        usages.read,
        {model.id: model.datastore for model in config.models},
        RecentPoints(rundir.metrics),
    )
    return Handlers(
        current=parts.current,
        predictor=parts.predictor,
        eval=EvalRoute(parts.predictor, parts.limits, parts.recording),
        stream=StreamRoute(
            parts.predictor,
            _stream_limits(config.endpoint, parts.limits.bodies),
            parts.recording,
        ),
        meta=_meta_routes(config, parts),
        health=health,
        metrics=MetricsRoute(parts.metrics, states),
        operations=Operations(parts.metrics, lambda: parts.current.names),
        stats=stats,
        config=masked_config(config),
    )


def _meta_routes(config: Config, parts: WorkerParts) -> dict[str, Any]:
    """Return the routes that tell what is known of a model, by their last part."""
    current = parts.current
    settings = _model_settings(config)
    stores = {name: one.datastore for name, one in settings.items()}
    mly = MlyMeta(current, stores)
    explanations = Explanations(current, settings)
    return {
        "config": KeptRoute(mly.config),
        "dictionary": KeptRoute(mly.dictionary),
        "contract": ContractRoute(Contracts(current, settings)),
        "inspect": KeptRoute(explanations.document),
        "key": KeyRoute(explanations, parts.limits),
    }


def http_limits(endpoint: Endpoint) -> HttpLimits:
    """Return the limits of one connection and of all."""
    return HttpLimits(
        body_bytes=endpoint.max_body_bytes,
        header_bytes=endpoint.max_header_bytes,
        receive_seconds=endpoint.receive_seconds,
        keepalive_seconds=endpoint.keepalive_seconds,
        request_seconds=endpoint.request_seconds,
        connections=min(endpoint.max_connections, most_connections()),
        bodies=BodyBudget(max(endpoint.max_bodies_mb << 20, endpoint.max_body_bytes)),
    )


def request_ids(endpoint: Endpoint) -> RequestIds | None:
    """Return what decides which id each request has; None: none has one."""
    if endpoint.request_id == "off":
        return None
    return RequestIds(makes=endpoint.request_id == "make")


def _stream_limits(endpoint: Endpoint, bodies: BodyBudget) -> StreamLimits:
    return StreamLimits(
        rows=endpoint.stream_window,
        line_bytes=endpoint.max_body_bytes,
        line_seconds=endpoint.request_seconds,
        receive_seconds=endpoint.receive_seconds,
        idle_seconds=endpoint.stream_idle_seconds,
        bodies=bodies,
        pace=Pace(_LINES_SECONDS),
    )


def _model_settings(config: Config) -> dict[str, ModelSettings]:
    return {
        model.id: ModelSettings(
            max_rows=model.batch.request_rows,
            max_body_bytes=config.endpoint.max_body_bytes,
            datastore=config.datastore_of(model),
        )
        for model in config.models
    }


def _tier_details(stores: Mapping[str, Store]) -> dict[str, Any]:
    """Return the state of each shared tier, by datastore and name."""
    details = {name: store.detail() for name, store in stores.items()}
    return {name: detail for name, detail in details.items() if detail}
