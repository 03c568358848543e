"""The models of a service: each source is followed, and what it brings is published.

per model: watch ─► stage ─► publish, or report why not ─► watch …
"""

import asyncio
import logging
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.version import StageRequest
from gomlx.runtime.masking import masked
from gomlx.supervisor.backoff import Backoff
from gomlx.supervisor.publisher import Publisher
from gomlx.supervisor.stager import Stager
from gomlx.supervisor.watcher import Observation, Watcher, differ, in_thread

log = logging.getLogger(__name__)

_LOOK_SECONDS = 60.0  # at all files, which a network may have
_FIRST_RETRY_SECONDS = 30.0
_LAST_RETRY_SECONDS = 600.0


@dataclass(frozen=True)
class WatchIntervals:
    """Durations that the config options of these names give (`gomlx.config.schema`)."""

    poll_seconds: float
    settle_seconds: float
    stage_seconds: float


@dataclass(frozen=True)
class _Followed:
    """One model. tried: set after the first attempt, whether it succeeds or fails."""

    request: StageRequest
    watcher: Watcher
    tried: asyncio.Event = field(default_factory=asyncio.Event)


class FollowedModels:
    """The models whose sources are followed, each by a task of its own."""

    def __init__(self, publisher: Publisher, intervals: WatchIntervals) -> None:
        self._publisher = publisher
        self._intervals = intervals
        self._stager = Stager(intervals.stage_seconds)
        self._models: dict[str, _Followed] = {}

    async def run(self, requests: Iterable[StageRequest]) -> None:
        """Follow the sources of models until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for request in requests:
                tasks.create_task(self._follow(self._add(request)))
            tasks.create_task(self._restage_damaged())

    async def tried(self) -> None:
        """Wait until each model was tried once."""
        for model in [*self._models.values()]:
            await model.tried.wait()

    def _add(self, request: StageRequest) -> _Followed:
        intervals = self._intervals
        watcher = Watcher(request.url, intervals.settle_seconds, intervals.poll_seconds)
        self._models[request.name] = _Followed(request, watcher)
        return self._models[request.name]

    async def _follow(self, model: _Followed) -> None:
        """Stage and publish one model each time its source has changed."""
        watcher = model.watcher
        backoff = Backoff(_FIRST_RETRY_SECONDS, _LAST_RETRY_SECONDS)
        last: Observation = None
        async for observation in watcher.observations():
            if differ(observation, last):  # other files have failures of their own
                backoff.reset()
            last = observation
            started = time.monotonic()
            try:
                version = await self._stager.stage(model.request, observation)
                elapsed = time.monotonic() - started
                self._publisher.note_staging(version.name, elapsed)
                self._publisher.publish(version)
                if version.may_gain:
                    watcher.repeat_after(backoff.next())
                else:
                    backoff.reset()
            except (StageFailed, OSError) as error:
                may_pass = isinstance(error, StageInterrupted | OSError)
                reason = masked(str(error))
                self._publisher.report_failure(model.request.name, reason, may_pass)
                watcher.repeat_after(backoff.next())
            model.tried.set()

    async def _restage_damaged(self) -> None:
        """Stage versions anew whose files vanish, as cleaners of old files do.

        Workers that have loaded such a version go on; a new one could not load it.
        """
        known: dict[str, str] = {}
        while True:
            await asyncio.sleep(self._intervals.poll_seconds)
            with suppress(TimeoutError):
                found = await in_thread(self._publisher.damages, _LOOK_SECONDS)
                for name in found.keys() - known.keys():
                    log.error(
                        "model %s: a staged file is lost, and it is staged anew: %s",
                        name,
                        found[name],
                    )
                    self._models[name].watcher.repeat()
                known = found
