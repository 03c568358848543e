"""Follow the manifest: load what should be live, warm it, swap, drain, close.

SIGUSR2 and a clock both say "look"; the manifest says what should be live. A version
that cannot be loaded leaves the old one live.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from gomlx.errors import ModelNotFound
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest, ModelVersion

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3.0  # a signal can be lost
_RETRY_SECONDS = 30.0  # by then, memory or file descriptors may be free again


class VersionLoads(Protocol):
    """Makes live versions of staged ones, and releases them."""

    def load(self, version: ModelVersion) -> LiveVersion:
        """Load and warm a version. Called in a thread."""

    def close(self, live: LiveVersion) -> None:
        """Release a version. Called on the event loop."""


class Reloader:
    """Keeps the live versions of a worker the same as the manifest's."""

    def __init__(
        self,
        manifest: Path,
        current: Current,
        loader: VersionLoads,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manifest = manifest
        self._current = current
        self._loader = loader
        self._metrics = metrics
        self._clock = clock
        self._hint = asyncio.Event()
        self._retry_at: dict[str, float] = {}  # digest of a failed version → when

    def wake(self) -> None:
        """Look at the manifest now. Safe in a signal handler of the event loop."""
        self._hint.set()

    async def follow(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.catch_up()
            except Exception:
                log.exception("cannot follow the manifest")
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._hint.wait()
            except TimeoutError:
                continue
            self._hint.clear()

    async def catch_up(self) -> None:
        """Make the versions of the manifest live, one after the other."""
        manifest = Manifest.read(self._manifest)
        for name, reason in manifest.failures.items():
            if name not in manifest.versions:
                self._current.reasons[name] = reason
        refused = self._current.refused
        refused.clear()
        refused.update(set(manifest.refused) - manifest.versions.keys())
        for version in manifest.versions.values():
            await self._reload(version)

    async def _reload(self, version: ModelVersion) -> None:
        live = self._current.get(version.name)
        if live and live.digest == version.digest:
            self._current.reasons.pop(version.name, None)
            return
        if self._clock() < self._retry_at.get(version.digest, 0):
            return
        try:
            # TensorFlow releases the GIL meanwhile: the event loop runs on.
            new = await asyncio.to_thread(self._loader.load, version)
        except Exception as error:
            self._fail(version, error)
            return
        self._swap(version, new)

    def _swap(self, version: ModelVersion, new: LiveVersion) -> None:
        try:
            self._current.swap(version.name, new, self._loader.close)
        except ModelNotFound:
            self._loader.close(new)
            return
        self._current.reasons.pop(version.name, None)
        self._metrics.counter("gomlx_loads", version.name, "loaded").n += 1
        log.info("model %s: version %s is live", version.name, version.digest)

    def _fail(self, version: ModelVersion, error: Exception) -> None:
        if not version.directory.exists():
            return  # a newer version replaced it meanwhile; the manifest names that one
        self._retry_at[version.digest] = self._clock() + _RETRY_SECONDS
        reason = f"version {version.digest} cannot be loaded: {error}"
        self._current.reasons[version.name] = reason
        self._metrics.counter("gomlx_loads", version.name, "failed").n += 1
        log.error("model %s: %s", version.name, reason, exc_info=error)
