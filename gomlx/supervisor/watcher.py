"""Observes a model source: once at the start, and whenever it has changed and settled.

The kernel's notifications (watchfiles) are hints that shorten the wait. Only polling is
reliable, for local paths too: they may be replaced as a whole, be on a network file
system, or not exist yet.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from watchfiles import Change, awatch

from gomlx.errors import StageFailed, StageInterrupted
from gomlx.models.source import Snapshot, Source
from gomlx.runtime.masking import masked

# At INFO it reports every change, also that of the log file it writes to.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

_OBSERVE_SECONDS = 60.0
T = TypeVar("T")
Observation = Snapshot | StageFailed | None  # None: no SavedModel there


class Watcher:
    """Watches one source, as an asynchronous iterator of observations.

    An observation is a snapshot, None (nothing there) or the error that reading the
    source raised. The first comes at once. Each other one differs from the last and
    has not changed for settle_seconds; or `repeat_after` repeats the last one.
    """

    def __init__(self, url: str, settle_seconds: float, poll_seconds: float) -> None:
        self._url = url
        self._settle_seconds = settle_seconds
        self._poll_seconds = poll_seconds
        self._source: Source | None = None
        self._hint = asyncio.Event()
        self._rearms: list[asyncio.Event] = []  # one per task that is notified
        self._repeat: asyncio.TimerHandle | None = None
        self._must_repeat = False

    def repeat_after(self, seconds: float) -> None:
        """Repeat the last observation after a while, unless another comes before."""
        loop = asyncio.get_running_loop()
        self._repeat = loop.call_later(seconds, self.repeat)

    def repeat(self) -> None:
        """Repeat the last observation now."""
        self._must_repeat = True
        self._hint.set()

    async def observations(self) -> AsyncIterator[Observation]:
        """Iterate until cancelled."""
        last = await self._observe()
        yield last
        watching = self._watch()
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._poll_seconds):
                        await self._hint.wait()
                self._hint.clear()
                now = await self._observe()
                if differ(now, last):
                    last = await self._settled(now)
                    for rearm in self._rearms:  # the path may be another folder by now
                        rearm.set()
                elif not self._must_repeat:
                    continue
                self._cancel_repeat()
                yield last
        finally:
            for task in watching:
                task.cancel()

    def _cancel_repeat(self) -> None:
        self._must_repeat = False
        if self._repeat:
            self._repeat.cancel()

    async def _observe(self) -> Observation:
        try:
            return await in_thread(self._snapshot, _OBSERVE_SECONDS)
        except StageFailed as error:
            return error
        except TimeoutError:
            reason = f"{self._url}: no answer in {_OBSERVE_SECONDS} s"
            return StageInterrupted(masked(reason))

    def _snapshot(self) -> Snapshot | None:
        if self._source is None:
            self._source = Source(self._url)
        return self._source.snapshot()

    async def _settled(self, observation: Observation) -> Observation:
        """Wait until two observations in a row are equal."""
        while True:
            await asyncio.sleep(self._settle_seconds)
            now = await self._observe()
            if not differ(now, observation):
                return now
            observation = now

    def _watch(self) -> list[asyncio.Task[None]]:
        """Start the tasks that turn the kernel's notifications into hints."""
        path = self._source.local_path if self._source else None
        if path is None:
            return []

        def is_path(_: Change, changed: str) -> bool:
            return Path(changed).name == path.name

        # The parent folder reports when the path itself is created, removed or
        # replaced.
        return [
            asyncio.create_task(self._hint_at_changes(path, None)),
            asyncio.create_task(self._hint_at_changes(path.parent, is_path)),
        ]

    async def _hint_at_changes(
        self, path: Path, only: Callable[[Change, str], bool] | None
    ) -> None:
        """Set the hint at changes below a path.

        With only, just at changes of direct entries for which it returns True.
        """
        rearm = asyncio.Event()
        self._rearms.append(rearm)
        while True:
            rearm.clear()
            with suppress(OSError):
                async for _ in awatch(
                    path,
                    watch_filter=only,
                    recursive=only is None,
                    step=50,
                    debounce=200,
                    stop_event=rearm,
                    ignore_permission_denied=True,
                ):
                    self._hint.set()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._poll_seconds):
                    await rearm.wait()


async def in_thread(call: Callable[[], T], seconds: float) -> T:
    """Run a call that may never return in a thread that does not outlive the process.

    Raises what the call raises, and TimeoutError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(outcome: Future[T]) -> None:
        if done.done():
            return
        if error := outcome.exception():
            done.set_exception(error)
        else:
            done.set_result(outcome.result())

    def run() -> None:
        outcome: Future[T] = Future()
        try:
            outcome.set_result(call())
        except Exception as error:
            outcome.set_exception(error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(deliver, outcome)

    threading.Thread(target=run, daemon=True).start()
    async with asyncio.timeout(seconds):
        return await done


def differ(a: Observation, b: Observation) -> bool:
    if isinstance(a, StageFailed) and isinstance(b, StageFailed):
        return str(a) != str(b)
    return a != b
