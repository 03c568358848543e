"""Iterates over what a model source looks like, each time it has changed and settled.

The kernel's notifications (watchfiles) are hints that save waiting; a look at the
source every few seconds is what can be relied on, for local paths too: they may be
replaced whole, live on a network file system, or not exist yet.
"""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import Change, awatch

from gomlx.config.masking import masked
from gomlx.errors import StageFailed
from gomlx.models.staging.source import Snapshot, Source

# It tells of every change, also of the log file that it writes to.
logging.getLogger("watchfiles").setLevel(logging.WARNING)

_LOOK_SECONDS = 60.0
T = TypeVar("T")
Sight = Snapshot | StageFailed | None


class Watcher:
    """Watches one source, as an asynchronous iterator of sights.

    A sight is a snapshot, None (nothing there) or the error that reading it raised.
    The first comes at once, each other when it differs from the last and has not
    changed for settle_seconds. `again` has the last one come again.
    """

    def __init__(self, url: str, settle_seconds: float, poll_seconds: float) -> None:
        self._url, self._settle, self._poll = url, settle_seconds, poll_seconds
        self._hint = asyncio.Event()
        self._rearms: list[asyncio.Event] = []  # one for each listener
        self._repeats = False
        self._source: Source | None = None

    def again(self) -> None:
        """Give the last sight again, now."""
        self._repeats = True
        self._hint.set()

    async def sights(self) -> AsyncIterator[Sight]:
        """Iterate until cancelled."""
        last = await self._look()
        yield last
        watching = self._watch()
        try:
            while True:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hint.wait(), self._poll)
                self._hint.clear()
                now = await self._look()
                if _differ(now, last):
                    last = await self._settled(now)
                    for rearm in self._rearms:  # the folder may be another by now
                        rearm.set()
                    yield last
                elif self._repeats:
                    yield last
                self._repeats = False
        finally:
            for task in watching:
                task.cancel()

    async def _look(self) -> Sight:
        try:
            return await _in_thread(self._snapshot, _LOOK_SECONDS)
        except StageFailed as error:
            return error
        except TimeoutError:
            return StageFailed(masked(f"{self._url}: no answer in {_LOOK_SECONDS} s"))

    def _snapshot(self) -> Snapshot | None:
        if self._source is None:
            self._source = Source(self._url)
        return self._source.snapshot()

    async def _settled(self, sight: Sight) -> Sight:
        """Wait until two looks in a row see the same."""
        while True:
            await asyncio.sleep(self._settle)
            now = await self._look()
            if not _differ(now, sight):
                return now
            sight = now

    def _watch(self) -> list[asyncio.Task[None]]:
        path = self._source.local_path if self._source else None
        if path is None:
            return []

        def is_it(_: Change, changed: str) -> bool:
            return Path(changed).name == path.name

        # The parent tells when the path itself comes, goes or is replaced.
        return [
            asyncio.create_task(self._listen(path, None)),
            asyncio.create_task(self._listen(path.parent, is_it)),
        ]

    async def _listen(
        self, path: Path, only: Callable[[Change, str], bool] | None
    ) -> None:
        """Hint at changes below a path, or at those only admits, right in it."""
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
                await asyncio.wait_for(rearm.wait(), self._poll)


async def _in_thread(call: Callable[[], T], seconds: float) -> T:
    """Run a call that may never return, without waiting for it when we have to end.

    Raises what it raises, and TimeoutError.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not done.done():
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: tuple[Any, Any] = (done.set_result, call())
        except Exception as error:
            outcome = (done.set_exception, error)
        with suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wait_for(done, seconds)


def _differ(a: Sight, b: Sight) -> bool:
    if isinstance(a, StageFailed) and isinstance(b, StageFailed):
        return str(a) != str(b)
    return a != b
