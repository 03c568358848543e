"""Follow the manifest: load what should be live, warm it, swap, drain, close.

SIGUSR2 and a clock both say "look"; the manifest says what should be. A version that
cannot be loaded leaves the old one where it is.
"""

import asyncio
import gc
import logging
import time
from collections.abc import Callable
from pathlib import Path

from gomlx.errors import ModelNotFound
from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest, ModelVersion

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3.0  # a signal can be lost
_RETRY_SECONDS = 30.0  # memory or file descriptors may be free again


class Reloader:
    """Keeps a worker's live versions those of the manifest."""

    def __init__(
        self,
        manifest: Path,
        current: Current,
        load: Callable[[ModelVersion], LiveVersion],
        metrics: Metrics,
    ) -> None:
        self._path, self._current = manifest, current
        self._load, self._metrics = load, metrics
        self._hint = asyncio.Event()
        self._failed: dict[str, float] = {}  # digest → when it may be tried again

    def wake(self) -> None:
        """Have the manifest looked at now. Safe in a signal handler of the loop."""
        self._hint.set()

    async def follow(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.catch_up()
            except Exception:
                log.exception("cannot follow the manifest")
            try:
                await asyncio.wait_for(self._hint.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue
            self._hint.clear()

    async def catch_up(self) -> None:
        """Make what the manifest names live, one version after the other."""
        manifest = Manifest.read(self._path)
        for name, reason in manifest.failures.items():
            if name not in manifest.versions:
                self._current.reasons[name] = reason
        for version in manifest.versions.values():
            await self._replace(version)

    async def _replace(self, version: ModelVersion) -> None:
        live = self._current.get(version.name)
        if live and live.servable.version.digest == version.digest:
            self._current.reasons.pop(version.name, None)
            return
        if time.monotonic() < self._failed.get(version.digest, 0):
            return
        try:
            # Loading leaves the event loop free: TensorFlow lets go of the interpreter.
            new = await asyncio.to_thread(self._load, version)
        except Exception as error:
            self._fail(version, error)
            return
        self._swap(version, new)

    def _swap(self, version: ModelVersion, new: LiveVersion) -> None:
        try:
            self._current.swap(version.name, new, _close)
        except ModelNotFound:
            _close(new)
            return
        self._current.reasons.pop(version.name, None)
        self._metrics.counter("gomlx_loads", version.name, "loaded").n += 1
        log.info("model %s: version %s is live", version.name, version.digest)

    def _fail(self, version: ModelVersion, error: Exception) -> None:
        if not version.directory.exists():
            return  # a newer version has come meanwhile; the manifest names it
        self._failed[version.digest] = time.monotonic() + _RETRY_SECONDS
        reason = f"version {version.digest} cannot be loaded: {error}"
        self._current.reasons[version.name] = reason
        self._metrics.counter("gomlx_loads", version.name, "failed").n += 1
        log.error("model %s: %s", version.name, reason, exc_info=error)


def _close(live: LiveVersion) -> None:
    live.batcher.close()
    live.servable.close()
    del live
    # TensorFlow's graphs are cycles. Cheap: what was there before any model was
    # loaded is frozen (server/service.py).
    gc.collect()
