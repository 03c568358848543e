"""An iterable of rows → an iterator of outcomes: in a thread, or on an event loop.

A program that blocks has its rows read in its own thread; on an event loop a task of
their own reads them.
"""

import asyncio
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Generator,
    Iterable,
    Iterator,
)
from concurrent.futures import Future
from typing import Any

from gomlx.client.answer import RowOutcome
from gomlx.client.stream.window import ReadAhead

_ROWS_PER_TURN = 64  # rows that are read before other tasks get the event loop
_END = object()


def iterate(
    rows: Iterable[Any], window: ReadAhead[Future[list[RowOutcome]]]
) -> Generator[RowOutcome, None, None]:
    """Yield the outcomes of rows, which are read in the caller's thread."""
    source = _Source(rows)
    try:
        while not source.is_exhausted or window:
            # A row in, an answer out; more rows in while that answer is not there.
            while not source.is_exhausted and window.has_room:
                source.read_into(window)
                if window and window.head() is None:
                    break
            if window:
                if (pending := window.head()) is not None:
                    pending.exception()  # waits
                yield window.pop()
        if source.failure is not None:
            raise source.failure
    finally:
        window.close()


class _Source:
    """An iterator of rows. failure: what it raised, to be raised after the last row."""

    def __init__(self, rows: Iterable[Any]) -> None:
        self._rows: Iterator[Any] = iter(rows)
        self.is_exhausted = False
        self.failure: Exception | None = None

    def read_into(self, window: ReadAhead[Future[list[RowOutcome]]]) -> None:
        """Read a row into a window."""
        try:
            row = next(self._rows, _END)
        except Exception as error:
            self.failure = error
            row = _END
        if row is _END:
            self.is_exhausted = True
            window.flush()
        else:
            window.add(row)


async def iterate_async(
    rows: Iterable[Any] | AsyncIterable[Any],
    window: "ReadAhead[asyncio.Future[list[RowOutcome]]]",
) -> AsyncGenerator[RowOutcome, None]:
    """Yield the outcomes of rows, which are read in a task of their own."""
    reader = _Reader(rows, window)
    try:
        while window or await reader.has_row():
            if (pending := window.head()) is not None:
                await asyncio.wait([pending])
            outcome = window.pop()
            reader.resume()
            yield outcome
    finally:
        await reader.close()


class _Reader:
    """A task that reads rows into a window for as long as that has room."""

    def __init__(
        self,
        rows: Iterable[Any] | AsyncIterable[Any],
        window: "ReadAhead[asyncio.Future[list[RowOutcome]]]",
    ) -> None:
        self._window = window
        self._has_room = asyncio.Event()
        self._has_news = asyncio.Event()  # a row, or the end
        self._task = asyncio.create_task(self._read(rows))
        self._task.add_done_callback(lambda _: self._has_news.set())

    async def has_row(self) -> bool:
        """Wait for a row; return False at the end. Raises what the iterator raised."""
        while not self._window and not self._task.done():
            self._has_news.clear()
            await self._has_news.wait()
        if self._window:
            return True
        self._task.result()
        return False

    def resume(self) -> None:
        """Let it read on: a row was removed."""
        self._has_room.set()

    async def close(self) -> None:
        """Stop reading, and cancel what was requested."""
        self._task.cancel()
        self._window.close()
        await asyncio.wait([self._task])
        if not self._task.cancelled():
            self._task.exception()  # or asyncio would log it, unless it was raised

    async def _read(self, rows: Iterable[Any] | AsyncIterable[Any]) -> None:
        window = self._window
        async for row in _each(rows):
            window.add(row)
            self._has_news.set()
            while not window.has_room:
                self._has_room.clear()
                await self._has_room.wait()
        window.flush()


async def _each(rows: Iterable[Any] | AsyncIterable[Any]) -> AsyncIterator[Any]:
    if isinstance(rows, AsyncIterable):
        async for row in rows:
            yield row
        return
    for n, row in enumerate(rows, 1):
        yield row
        if n % _ROWS_PER_TURN == 0:
            await asyncio.sleep(0)
