"""Client: for programs that block.

The core does its I/O on an event loop. AsyncClient uses the caller's; Client has one in
a thread of its own, so it can be called from anywhere, a running loop included. What is
known locally is answered in the calling thread, in both, without the loop.
"""

import atexit
import threading
import weakref
from collections.abc import (
    Generator,
    Iterable,
    Mapping,
)
from concurrent.futures import CancelledError, Future
from typing import Any, Literal, Self, overload

from gomlx.client.answer import Answer
from gomlx.client.base import Base
from gomlx.client.columns import Columns, batch, one_by_one, one_row
from gomlx.client.forks import leave_alone
from gomlx.client.loop_thread import LoopThread
from gomlx.client.progress import Bar
from gomlx.client.stream import (
    Choices,
    Outcome,
    Window,
    outcomes,
    streamed,
)
from gomlx.errors import ConnectionFailed


class Client(Base):
    """Asks the hosts of a service for one model's predictions, and keeps the answers.

    For any number of threads. hosts are URLs; redis is the URL of the service's shared
    tier, if it has one that may be read from here. contract spares the first request.
    After a fork the child opens its own connections; a redis or transport that is not
    given as a URL must bear that.
    """

    _thread: LoopThread | None = None  # once it has connected
    _opening: tuple[LoopThread, Future[None]] | None = None
    _before: LoopThread | None = None  # which may not have ended yet

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
        """Return the answer of one row, given by keywords, as a mapping, or by both.

        Raises InvalidInput, ModelNotFound, TooLarge, Overloaded, RunFailed and NotReady
        as the service does; NoHost, BadResponse or DeadlineExceeded when none of the
        hosts gave an answer.
        """
        if row is None:
            row = inputs
        elif inputs:
            row = {**row, **inputs}
        answer = self._core.find(row)
        if answer is not None:
            return answer
        return self._wait(one_row(row), timeout_seconds)[0]

    def predict_batch(
        self, columns: Any, /, *, timeout_seconds: float | None = None
    ) -> list[Answer]:
        """Return the answers of many rows, in order.

        columns maps inputs to lists or arrays of one length, or to single values,
        which stand for every row; it may be a frame (pandas, polars, Arrow) or an
        iterable of rows.
        Raises what `predict` does; then there are no answers.
        """
        asked = batch(columns)
        answers = self._core.find_many(asked)
        return answers or self._wait(asked, timeout_seconds)

    @overload
    def stream(
        self,
        rows: Iterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["raise"] = "raise",
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> Generator[Answer, None, None]: ...

    @overload
    def stream(
        self,
        rows: Iterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["return"],
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> Generator[Outcome, None, None]: ...

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
        error. Raises TypeError, ValueError and, without rich for that, ImportError.
        """

        def submit(rows: list[Any]) -> Future[list[Outcome]]:
            thread = self._thread or self._started()
            return thread.submit(outcomes(self._core, rows, timeout_seconds))

        bar = Bar(self._model, rows) if progress else None
        choices = Choices(window, errors)
        return streamed(one_by_one(rows), Window(self._core, submit, choices, bar))

    def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        self._started()
        return self

    def close(self) -> None:
        """Let go of connections. The client may be used again, and begins anew."""
        with self._starting:
            opening, self._opening, self._thread = self._opening, None, None
            if opening:
                self._before = opening[0]
        if opening:
            opening[0].stop()

    def __del__(self) -> None:
        # Nobody will close it. Whoever collects garbage must not wait.
        if self._opening:
            thread, _ = self._opening
            thread.stop_soon()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(self, asked: Columns, seconds: float | None) -> list[Answer]:
        try:
            thread = self._thread or self._started()
            return thread.run(self._core.answers(asked, seconds))
        except CancelledError:
            raise ConnectionFailed("the client was closed meanwhile") from None

    def _started(self) -> LoopThread:
        """Return the thread, once it has connected; whoever comes first starts it."""
        with self._starting:
            if self._opening is None:
                self._core.resume()
                new = LoopThread(self._core.close, self._before)
                self._opening = new, new.submit(self._open())
            thread, opened = opening = self._opening
        try:
            opened.result()
        except BaseException:
            with self._starting:
                is_ours = self._opening is opening
                if is_ours:
                    self._opening, self._before = None, thread
            if is_ours:
                thread.stop()
            raise
        with self._starting:
            if self._opening is opening:  # it was not closed meanwhile
                self._thread = thread
        return thread

    def _forked(self) -> None:
        leave_alone(self._opening)
        self._thread = self._opening = self._before = None
        self._starting = threading.Lock()
        super()._forked()


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


@atexit.register
def _close() -> None:
    for client in list(_clients):
        client.close()
