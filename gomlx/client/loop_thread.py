"""An event loop in a thread, for code that blocks, wherever that runs."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop in a thread of its own, from construction until `stop`.

    on_stop makes the last coroutine that runs there; the object it is bound to lives
    until then. The loop starts when the thread of its predecessor has ended.
    """

    def __init__(
        self,
        on_stop: Callable[[], Coroutine[Any, Any, None]],
        predecessor: "LoopThread | None" = None,
    ) -> None:
        self._on_stop = on_stop
        self._predecessor = predecessor
        self._submitting = threading.Lock()  # of _has_ended; never held while waiting
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
        """Return a coroutine's result; cancel it when waiting is interrupted."""
        future = self.submit(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def stop(self) -> None:
        """Cancel everything that runs there, and join the thread."""
        ended = self.stop_soon()
        self._thread.join()
        ended.result()

    def stop_soon(self) -> Future[None]:
        """Stop without waiting."""
        return self.submit(self._stop())

    def _run(self) -> None:
        if self._predecessor:
            self._predecessor._thread.join()
            self._predecessor = None
        self._loop.run_forever()
        with self._submitting:
            self._has_ended = True
        self._loop.run_until_complete(_cancel_others())
        self._loop.close()

    async def _stop(self) -> None:
        try:
            await self._on_stop()
        finally:
            self._loop.call_soon(self._loop.stop)  # once this task has ended


async def _cancel_others() -> None:
    await asyncio.sleep(0)  # tasks that were submitted last start now
    while others := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
