"""/metrics: the metrics of all workers, in Prometheus' text format."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from platform import python_version

import falcon.asgi

from gomlx.metrics.exposition import ScrapedMetric
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current
from gomlx.models.version import Manifest
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.routes.shared import SharedWork


@dataclass(frozen=True)
class ServiceState:
    """What metrics show of the whole service.

    workers: so many are configured. is_draining: whether it is about to stop. stores
    reads the state of the datastores.
    """

    workers: int
    is_draining: Callable[[], bool]
    stores: Callable[[], Iterable[ScrapedMetric]] = tuple


class StateMetrics:
    """Metrics that are not counted: they are the state at the time of a scrape.

    manifest reads what the supervisor published last.
    """

    def __init__(
        self,
        current: Current,
        manifest: Callable[[], Manifest],
        service: ServiceState,
        certificates: Certificates | None = None,
    ) -> None:
        self._current = current
        self._manifest = manifest
        self._service = service
        self._certificates = certificates

    def scrape(self) -> list[ScrapedMetric]:
        """Return the metrics with their samples."""
        manifest = self._manifest()
        models = [
            self._info(manifest),
            self._up(manifest),
            self._joins_rows(),
            self._reloads(manifest),
            *_stagings(manifest),
        ]
        service = [_build(), *self._processes(manifest), *self._service.stores()]
        return [*models, *service, *self._tls()]

    def _info(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric("gomlx_model_info")
        for name, one in manifest.every.items():
            metric.add(1, name, one.digest)
        return metric

    def _up(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric("gomlx_model_up")
        failed = manifest.failures.keys() | self._current.reasons.keys()
        every = manifest.every
        for name in self._current.names:
            metric.add(int(name in every and name not in failed), name)
        return metric

    def _joins_rows(self) -> ScrapedMetric:
        metric = ScrapedMetric("gomlx_model_joins_rows")
        for name in self._current.names:
            if (live := self._current.get(name)) is not None:
                metric.add(int(live.servable.description.joins_rows), name)
        return metric

    def _reloads(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric("gomlx_reloads_total")
        for name in self._current.names:
            for outcome, count in manifest.reloads.get(name, {}).items():
                metric.add(count, name, outcome)
        return metric

    def _processes(self, manifest: Manifest) -> Iterable[ScrapedMetric]:
        configured = ScrapedMetric("gomlx_workers_configured")
        configured.add(self._service.workers)
        restarts = ScrapedMetric("gomlx_gunicorn_restarts_total")
        restarts.add(manifest.restarts)
        draining = ScrapedMetric("gomlx_draining")
        draining.add(int(self._service.is_draining()))
        return configured, restarts, draining

    def _tls(self) -> Iterable[ScrapedMetric]:
        if self._certificates is None:
            return
        expires = ScrapedMetric("gomlx_tls_certificate_expiry_timestamp_seconds")
        expires.add(self._certificates.expires)
        up = ScrapedMetric("gomlx_tls_up")
        up.add(int(self._certificates.problem is None))
        yield expires
        yield up


def _stagings(manifest: Manifest) -> Iterable[ScrapedMetric]:
    seconds = ScrapedMetric("gomlx_last_staging_seconds")
    ended = ScrapedMetric("gomlx_last_staging_timestamp_seconds")
    for name, staging in manifest.stagings.items():
        seconds.add(staging.seconds, name)
        ended.add(staging.ended, name)
    return seconds, ended


@cache
def _build() -> ScrapedMetric:
    """Return the metric whose labels are the releases of what runs."""
    info = ScrapedMetric("gomlx_build_info")
    info.add(1, _release("gomlx"), python_version(), _release("tensorflow"))
    return info


def _release(module: str) -> str:
    """Return the release of what this process has imported."""
    return str(getattr(sys.modules.get(module), "__version__", ""))


class MetricsRoute:
    """What Prometheus scrapes: one scrape at a time, however many clients ask."""

    def __init__(self, metrics: Metrics, states: StateMetrics) -> None:
        self._metrics = metrics
        self._states = states
        self._scrapes = SharedWork(self._scrape)

    async def on_get(
        self, _: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        response.data = await self._scrapes.result()
        response.content_type = "text/plain; version=0.0.4; charset=utf-8"

    async def _scrape(self) -> bytes:
        self._metrics.flush()
        states = self._states.scrape()
        # Reading the files of all workers takes milliseconds: not on the event loop.
        return await asyncio.to_thread(self._metrics.exposition, states)
