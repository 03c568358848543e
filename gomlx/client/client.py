"""Client and AsyncClient: two ways to call the same core.

The core does its I/O on an event loop. AsyncClient uses the caller's; Client has one in
a thread of its own, so it can be called from anywhere, a running loop included. What is
known locally is answered in the calling thread, in both, without the loop.
"""

import asyncio
import atexit
import os
import threading
import weakref
from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    Generator,
    Iterable,
    Mapping,
)
from concurrent.futures import Future
from typing import Any, Literal, Self

from gomlx.client.answer import Answer
from gomlx.client.base import Base
from gomlx.client.columns import Asked, batch, one_row
from gomlx.client.edition import Edition
from gomlx.client.loop_thread import LoopThread
from gomlx.client.progress import Bar
from gomlx.client.stream import (
    Choices,
    Outcome,
    Window,
    outcomes,
    streamed,
    streamed_async,
)
from gomlx.errors import GomlxError


class Client(Base):
    """Asks the hosts of a service for one model's predictions, and keeps the answers.

    For any number of threads. hosts are URLs; redis is the URL of the service's shared
    tier, if it has one that may be read from here. contract spares the first request.
    After a fork the child opens its own connections; a redis or transport that is not
    given as a URL must bear that.
    """

    _thread: LoopThread | None = None  # once it has connected
    _opening: tuple[LoopThread, Future[None]] | None = None
    _parked: Edition | None = None

    def _made(self) -> None:
        self._starting = threading.Lock()  # of _opening; never held while waiting
        _clients.add(self)

    def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row, given by keywords or as a mapping.

        Raises InvalidInput, ModelNotFound, TooLarge, Overloaded, RunFailed and NotReady
        as the service does; NoHost, BadResponse or DeadlineExceeded when none of the
        hosts gave an answer.
        """
        if row is None:
            row = inputs
        answer = self._core.find(row)
        if answer is not None:
            return answer
        return self._wait(one_row(row), timeout_seconds)[0]

    def predict_batch(
        self, columns: Any, /, *, timeout_seconds: float | None = None
    ) -> list[Answer]:
        """Return the answers of many rows, in order.

        columns maps inputs to lists or arrays of one length, or to single values,
        which stand for every row; it may be a frame (pandas, polars, Arrow) or a list
        of rows.
        Raises what `predict` does; then there are no answers.
        """
        asked = batch(columns)
        answers = self._core.find_many(asked)
        return answers or self._wait(asked, timeout_seconds)

    def stream(
        self,
        rows: Iterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["raise", "return"] = "raise",
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> Generator[Any, None, None]:
        """Yield the answer of row after row, in order, for as long as there are rows.

        rows are read in this thread, at most `window` ahead of the answer that is
        yielded; what is not known here is asked in batches of a quarter of that. While
        the iterator of rows blocks, no answer is yielded; with a window of 1 it is not
        asked for a row before the last answer was. timeout_seconds is that of a batch.

        A row's own InvalidInput, TooLarge or RunFailed is raised in its place, or
        yielded there with errors="return". What else `predict` raises is raised. No
        answer comes after an error that was raised. progress shows a bar on standard
        error; it needs rich. Raises ValueError, and ImportError without rich.
        """

        def submit(rows: list[Any]) -> Future[list[Outcome]]:
            thread = self._thread or self._started()
            return thread.submit(outcomes(self._core, rows, timeout_seconds))

        bar = Bar(self._model, rows) if progress else None
        choices = Choices(window, errors)
        return streamed(rows, Window(self._core, submit, choices, bar))

    def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        self._started()
        return self

    def close(self) -> None:
        """Let go of connections. The client may be used again, and begins anew."""
        with self._starting:
            opening, self._opening, self._thread = self._opening, None, None
        if opening:
            thread, _ = opening
            thread.run(self._core.close())
            thread.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, asked: Asked, seconds: float | None) -> list[Answer]:
        thread = self._thread or self._started()
        return thread.run(self._core.answers(asked, seconds))

    def _started(self) -> LoopThread:
        """Return the thread, once it has connected; whoever comes first starts it."""
        with self._starting:
            if self._opening is None:
                self._core.edition = self._core.edition or self._parked
                new = LoopThread()
                self._opening = new, new.submit(self._open())
            thread, opened = opening = self._opening
        try:
            opened.result()
        except BaseException:
            with self._starting:
                is_ours = self._opening is opening
                self._opening = None if is_ours else self._opening
            if is_ours:
                thread.stop()
            raise
        self._thread = thread
        return thread

    def _forked(self) -> None:
        """Forget, in a child, what belongs to the parent; keep what is known.

        Without an edition nothing is found locally, so the first call starts a thread,
        which looks for new versions as well.
        """
        self._thread, self._opening, self._starting = None, None, threading.Lock()
        core = self._core
        core.connection = None
        self._parked, core.edition = core.edition or self._parked, None


class AsyncClient(Base):
    """What Client is, for the event loop that it is first used on."""

    _opening: "asyncio.Task[None] | None" = None
    _loop: asyncio.AbstractEventLoop | None = None

    async def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row; see Client.predict."""
        if row is None:
            row = inputs
        answer = self._core.find(row)
        if answer is not None:
            return answer
        await self.start()
        return (await self._core.answers(one_row(row), timeout_seconds))[0]

    async def predict_batch(
        self, columns: Any, /, *, timeout_seconds: float | None = None
    ) -> list[Answer]:
        """Return the answers of many rows, in order; see Client.predict_batch."""
        asked = batch(columns)
        answers = self._core.find_many(asked)
        if answers:
            return answers
        await self.start()
        return await self._core.answers(asked, timeout_seconds)

    def stream(
        self,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["raise", "return"] = "raise",
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[Any, None]:
        """Yield the answer of row after row; see Client.stream.

        rows are read by a task beside, so answers come while it waits for the next one.
        """

        async def answered(rows: list[Any]) -> list[Outcome]:
            try:
                await self.start()
            except GomlxError as error:
                return [error] * len(rows)
            return await outcomes(self._core, rows, timeout_seconds)

        def submit(rows: list[Any]) -> "asyncio.Future[list[Outcome]]":
            return asyncio.create_task(answered(rows))

        bar = Bar(self._model, rows) if progress else None
        choices = Choices(window, errors)
        return streamed_async(rows, Window(self._core, submit, choices, bar))

    async def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise RuntimeError("an AsyncClient belongs to the loop it was started on")
        if self._opening is None or (self._opening.done() and not self._is_open):
            self._loop, self._opening = loop, loop.create_task(self._open())
        if not self._opening.done():
            await asyncio.shield(self._opening)
        return self

    async def close(self) -> None:
        """Let go of connections. The client may be used again, and begins anew."""
        if self._opening:
            self._opening.cancel()
        self._opening = self._loop = None
        await self._core.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _is_open(self) -> bool:
        return self._core.connection is not None


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


def _forked() -> None:
    for client in list(_clients):
        client._forked()


@atexit.register
def _close() -> None:
    for client in list(_clients):
        client.close()


os.register_at_fork(after_in_child=_forked)
