"""Follow the manifest: load what should be live, warm it, swap, drain, close.

SIGUSR2 and a clock both say "look"; the manifest says what should be live. A version
that cannot be loaded leaves the old one live. All signatures of a model are swapped
together: a further one that cannot be loaded, or that a version does not have, is not
live any more.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from gomlx.metrics.metrics import Metrics
from gomlx.models.serving.current import Current, LiveVersion
from gomlx.models.version import Manifest, ModelVersion, model_of
from gomlx.server.process.loading import Loads

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3.0  # a signal can be lost
_RETRY_SECONDS = 30.0  # by then, memory or file descriptors may be free again


class ConfiguredModels(Protocol):
    """The models of the config, which may change."""

    def look(self) -> Collection[str]:
        """Apply the config if it has changed; return what is to be loaded anew."""

    def admit(self, name: str) -> None:
        """Have a further signature answered that has got a slot."""


class Reloader:
    """Keeps the live versions of a worker the same as the manifest's."""

    def __init__(
        self,
        manifest: Path,
        current: Current,
        loads: Loads,
        metrics: Metrics,
        config: ConfiguredModels,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manifest = manifest
        self._current = current
        self._loads = loads
        self._metrics = metrics
        self._config = config
        self._anew = set[str]()
        self._clock = clock
        self._hint = asyncio.Event()
        self._has_looked = asyncio.Event()
        self._retry_at: dict[str, float] = {}  # digest of a failed version → when

    def wake(self) -> None:
        """Look at the manifest now. Safe in a signal handler of the event loop.

        What could not be loaded is tried again: it may have been staged anew.
        """
        self._retry_at.clear()
        self._hint.set()

    async def follow(self) -> None:
        """Run until cancelled."""
        while True:
            try:
                await self.catch_up()
            except OSError as error:
                log.error("cannot follow the manifest: %s", error)
            except Exception:
                log.exception("cannot follow the manifest")
            await self._hinted()

    async def _hinted(self) -> None:
        """Wait until it is time to look."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._hint.wait()
        self._hint.clear()

    async def has_something_to_load(self) -> None:
        """Wait until a version is published."""
        while not Manifest.read(self._manifest).versions:
            await self._hinted()

    async def has_tried_all(self) -> None:
        """Wait until every model is live, or has failed; `follow` runs meanwhile."""
        while not all(map(self._has_tried, self._current.names)):
            self._has_looked.clear()
            await self._has_looked.wait()

    def _has_tried(self, name: str) -> bool:
        return self._current.get(name) is not None or name in self._current.reasons

    async def catch_up(self) -> None:
        """Make the versions of the manifest live, one after the other."""
        anew = self._config.look()
        self._anew.update(anew)
        manifest = Manifest.read(self._manifest)
        every = manifest.every.items()
        self._loads.keep(v.digest for name, v in every if model_of(name) not in anew)
        for name, reason in manifest.failures.items():
            if name not in manifest.versions and self._current.is_configured(name):
                self._current.reasons[name] = reason
        refused = self._current.refused
        refused.clear()
        refused.update(set(manifest.refused) - manifest.versions.keys())
        for version in manifest.versions.values():
            refused.update(self._withheld(version))
        for version in manifest.versions.values():
            await self._reload(version)
        self._has_looked.set()

    def _withheld(self, version: ModelVersion) -> dict[str, str]:
        """Return the further signatures that a version does not serve, and why."""
        served = ", ".join([version.signature, *(s.signature for s in version.further)])
        reason = f"version {version.digest} does not have it; it has: {served}"
        gone = dict.fromkeys(self._current.further(version.name), reason)
        for one in version.further:
            gone.pop(one.name, None)
        return gone | version.refused

    async def _reload(self, version: ModelVersion) -> None:
        current = self._current
        if version.name not in current.names:
            return
        names = [version.name, *current.further(version.name)]
        lives = [live for name in names if (live := current.get(name))]
        known = {live.digest: live for live in lives}
        if version.name in self._anew:
            known.clear()
        new: dict[str, LiveVersion | None] = {}
        for one in (version, *version.further):
            if one.digest not in known and (live := await self._load(one)):
                known[one.digest] = live
            new[one.name] = known.get(one.digest)
            if new[version.name] is None:
                return
        self._swap(version, new)
        self._anew.discard(version.name)

    async def _load(self, version: ModelVersion) -> LiveVersion | None:
        """Load a version, unless that has just failed; None: it cannot be loaded."""
        if self._clock() < self._retry_at.get(version.digest, 0):
            return None
        try:
            return await self._loads.load(version)
        except Exception as error:
            self._fail(version, error)
            return None

    def _swap(
        self, version: ModelVersion, new: Mapping[str, LiveVersion | None]
    ) -> None:
        """Make all signatures of a version live, in one turn of the event loop."""
        current = self._current
        for name in new.keys() - {version.name, *current.further(version.name)}:
            current.add(name)
            self._config.admit(name)
        withheld = self._withheld(version)
        gone = dict.fromkeys(current.further(version.name))
        changed = {
            name: live
            for name, live in (gone | dict(new)).items()
            if current.get(name) is not live
        }
        current.swap(changed, self._loads.close)
        failed = [name for name, live in new.items() if live is None]
        for name in [*current.reasons]:
            if model_of(name) == version.name and name not in failed:
                del current.reasons[name]
        current.reasons.update(withheld)
        self._note(changed)

    def _note(self, changed: Mapping[str, LiveVersion | None]) -> None:
        for name, live in changed.items():
            if live is None:
                log.warning("model %s is not live any more", name)
            else:
                self._metrics.counter("gomlx_loads", name, "loaded").n += 1
                loaded = self._metrics.gauge("gomlx_last_load_timestamp_seconds", name)
                loaded.value = time.time()
                log.info("model %s: version %s is live", name, live.digest)

    def _fail(self, version: ModelVersion, error: Exception) -> None:
        published = Manifest.read(self._manifest).every.get(version.name)
        if published is None or published.digest != version.digest:
            return  # a newer version has replaced it meanwhile
        self._retry_at[version.digest] = self._clock() + _RETRY_SECONDS
        reason = f"version {version.digest} cannot be loaded: {error}"
        self._current.reasons[version.name] = reason
        self._metrics.counter("gomlx_loads", version.name, "failed").n += 1
        log.error("model %s: %s", version.name, reason, exc_info=error)
