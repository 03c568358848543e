"""An event loop that blocking code can use, from wherever it runs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own.

    last makes what runs there at the end; what it belongs to is kept until then. It
    begins when the one before it has ended.
    """

    def __init__(
        self,
        last: Callable[[], Coroutine[Any, Any, None]],
        before: "LoopThread | None" = None,
    ) -> None:
        self._last, self._before = last, before
        self._submitting = threading.Lock()  # of _has_ended; nobody waits with it
        self._has_ended = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._run, name="gomlx-client", daemon=True
        )
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine there. Raises CancelledError when the thread has ended."""
        with self._submitting:
            if not self._has_ended:
                return asyncio.run_coroutine_threadsafe(work, self._loop)
        work.close()
        raise CancelledError

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what a coroutine does; stop it when the waiting is interrupted."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """End all that runs there, and the thread."""
        ended = self.stop_soon()
        self._thread.join()
        ended.result()

    def stop_soon(self) -> Future[None]:
        """Stop, without waiting for it."""
        return self.submit(self._stop())

    def _run(self) -> None:
        if self._before:
            self._before._thread.join()
            self._before = None
        self._loop.run_forever()
        with self._submitting:
            self._has_ended = True
        self._loop.run_until_complete(_cancel_others())
        self._loop.close()

    async def _stop(self) -> None:
        try:
            await self._last()
        finally:
            self._loop.call_soon(self._loop.stop)  # once this task has ended


async def _cancel_others() -> None:
    await asyncio.sleep(0)  # what was submitted last begins now
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
