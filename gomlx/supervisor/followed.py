"""The models of a service: each source is followed, and what it brings is published.

per model: watch ─► stage ─► publish, or report why not ─► watch …
"""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.version import StageRequest
from gomlx.runtime.masking import masked
from gomlx.supervisor.backoff import Backoff
from gomlx.supervisor.publisher import Publisher
from gomlx.supervisor.stager import Guests, Stager
from gomlx.supervisor.watcher import Observation, Watcher, differ, in_thread

log = logging.getLogger(__name__)

_LOOK_SECONDS = 60.0  # at all files, which a network may have
_FIRST_RETRY_SECONDS = 30.0
_LAST_RETRY_SECONDS = 600.0


@dataclass(frozen=True)
class WatchIntervals:
    """What the config options of these names give (`gomlx.config.schema`)."""

    poll_seconds: float
    settle_seconds: float
    stage_seconds: float
    stagings: int = 1
    patient_seconds: float = 60.0


@dataclass
class _Followed:
    """One model. tried: set after the first attempt, whether it succeeds or fails."""

    request: StageRequest
    watcher: Watcher
    tried: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    def end(self) -> None:
        """Follow it no longer."""
        if self.task:
            self.task.cancel()
        self.tried.set()


class FollowedModels:
    """The models whose sources are followed, each by a task of its own.

    is_serving: whether there are requests that a staging might delay.
    """

    def __init__(
        self,
        requests: Sequence[StageRequest],
        publisher: Publisher,
        intervals: WatchIntervals,
        is_serving: Callable[[], bool],
    ) -> None:
        self._publisher = publisher
        self._intervals = intervals
        guests = Guests(is_serving, intervals.stagings, intervals.patient_seconds)
        self._stager = Stager(intervals.stage_seconds, guests=guests)
        self._models = {one.name: self._followed(one) for one in requests}
        self._changed = asyncio.Event()

    @property
    def names(self) -> list[str]:
        """The models that are followed."""
        return [*self._models]

    async def run(self) -> None:
        """Follow the sources of the models until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._restage_damaged())
            while True:
                for model in self._models.values():
                    model.task = model.task or tasks.create_task(self._follow(model))
                self._changed.clear()
                await self._changed.wait()

    def change(self, requests: Sequence[StageRequest]) -> None:
        """Follow these models, and no others. One whose request differs begins anew."""
        wanted = {request.name: request for request in requests}
        for name, model in [*self._models.items()]:
            if wanted.get(name) != model.request:
                model.end()
                del self._models[name]
            if name not in wanted:
                self._publisher.withdraw(name)
        for name in wanted.keys() - self._models.keys():
            self._publisher.expect(name)
            self._models[name] = self._followed(wanted[name])
        self._changed.set()

    async def tried(self) -> None:
        """Wait until each model was tried once."""
        for model in [*self._models.values()]:
            await model.tried.wait()

    def _followed(self, request: StageRequest) -> _Followed:
        settle_seconds = self._intervals.settle_seconds
        poll_seconds = self._intervals.poll_seconds
        return _Followed(request, Watcher(request.url, settle_seconds, poll_seconds))

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
                    if name in self._models:
                        self._models[name].watcher.repeat()
                known = found
