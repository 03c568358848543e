"""/metrics: the metrics of all workers, in Prometheus' text format."""

import asyncio
from collections.abc import Callable, Iterable

import falcon.asgi

from gomlx.metrics.exposition import ScrapedMetric
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current
from gomlx.models.version import Manifest
from gomlx.server.http.tls.certificates import Certificates
from gomlx.server.routes.shared import SharedWork


class StateMetrics:
    """Metrics that are not counted: they are the state at the time of a scrape.

    manifest reads what the supervisor published last. memory reads the state of the
    datastores' shared memory.
    """

    def __init__(
        self,
        current: Current,
        manifest: Callable[[], Manifest],
        certificates: Certificates | None = None,
        memory: Callable[[], Iterable[ScrapedMetric]] = tuple,
    ) -> None:
        self._current = current
        self._manifest = manifest
        self._certificates = certificates
        self._memory = memory

    def scrape(self) -> list[ScrapedMetric]:
        """Return the metrics with their samples."""
        manifest = self._manifest()
        models = [
            self._info(manifest),
            self._up(manifest),
            self._joins_rows(),
            self._reloads(manifest),
        ]
        return [*models, *self._memory(), *self._tls()]

    def _info(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric(
            "gomlx_model_info", "The live versions.", ("model", "version")
        )
        for name, version in manifest.every.items():
            metric.add(1, name, version.digest)
        return metric

    def _up(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric(
            "gomlx_model_up", "1: the newest files are live.", ("model",)
        )
        failed = manifest.failures.keys() | self._current.reasons.keys()
        every = manifest.every
        for name in self._current.names:
            metric.add(int(name in every and name not in failed), name)
        return metric

    def _joins_rows(self) -> ScrapedMetric:
        metric = ScrapedMetric(
            "gomlx_model_joins_rows",
            "1: rows of different requests may run together.",
            ("model",),
        )
        for name in self._current.names:
            if (live := self._current.get(name)) is not None:
                metric.add(int(live.servable.description.joins_rows), name)
        return metric

    def _reloads(self, manifest: Manifest) -> ScrapedMetric:
        metric = ScrapedMetric(
            "gomlx_reloads_total", "Versions published or failed.", ("model", "outcome")
        )
        for name in self._current.names:
            for outcome, count in manifest.reloads.get(name, {}).items():
                metric.add(count, name, outcome)
        return metric

    def _tls(self) -> Iterable[ScrapedMetric]:
        if self._certificates is None:
            return
        expires = ScrapedMetric(
            "gomlx_tls_certificate_expiry_timestamp_seconds",
            "Unix time at which the certificate in use expires.",
            (),
        )
        expires.add(self._certificates.expires)
        up = ScrapedMetric(
            "gomlx_tls_up", "1: the newest certificate is live and valid.", ()
        )
        up.add(int(self._certificates.problem is None))
        yield expires
        yield up


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
