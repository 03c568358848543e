"""Client: for programs that block.

The core does its I/O on an event loop. AsyncClient uses the caller's; Client has one in
a thread of its own, so it can be called from anywhere, a running loop included. Both
answer rows that are known locally in the calling thread, without the loop.
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
from typing import Any, Literal, NamedTuple, Self, overload

from gomlx.client.answer import Answer, RowOutcome
from gomlx.client.base import ClientBase
from gomlx.client.columns import (
    InputColumns,
    columns_of_batch,
    columns_of_row,
    only_rows,
)
from gomlx.client.forks import never_destroy
from gomlx.client.loop_thread import LoopThread
from gomlx.client.progress import Bar
from gomlx.client.stream.iterate import iterate
from gomlx.client.stream.outcomes import outcomes
from gomlx.client.stream.window import ReadAhead, StreamOptions
from gomlx.errors import ConnectionFailed


class _Opening(NamedTuple):
    """A thread, and the future that is done once it has connected."""

    thread: LoopThread
    connected: Future[None]


class Client(ClientBase):
    """Requests the predictions of one model from its hosts, and keeps the answers.

    For any number of threads. hosts are URLs; redis is the URL of the service's shared
    tier, if it has one that may be read from here. contract spares the first request.
    After a fork the child opens its own connections; a redis or transport that is not
    given as a URL must support that.
    """

    _thread: LoopThread | None = None  # once it has connected
    _opening: _Opening | None = None
    _before: LoopThread | None = None  # which may not have ended yet

    def _set_up(self) -> None:
        self._starting = threading.Lock()  # of _opening; never held while waiting
        _clients.add(self)

    def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row, given by keywords, as a mapping, or by both.

        request_id: what a request for it is called in logs, if there has to be one.

        Raises InvalidInput, ModelNotFound, TooLarge, Overloaded, RunFailed and NotReady
        as the service does; NoHost, BadResponse or DeadlineExceeded when none of the
        hosts gave an answer.
        """
        if row is None:
            row = inputs
        elif inputs:
            row = {**row, **inputs}
        answer = self._core.lookup(row)
        if answer is not None:
            return answer
        return self._wait(columns_of_row(row), timeout_seconds, request_id)[0]

    def predict_batch(
        self,
        columns: Any,
        /,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
    ) -> list[Answer]:
        """Return the answers of many rows, in order.

        columns maps inputs to lists or arrays of one length, or to single values,
        which stand for every row; it may be a frame (pandas, polars, Arrow) or an
        iterable of rows.
        Raises what `predict` does; then there are no answers.
        """
        inputs = columns_of_batch(columns)
        answers = self._core.lookup_many(inputs)
        return answers or self._wait(inputs, timeout_seconds, request_id)

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
    ) -> Generator[RowOutcome, None, None]: ...

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
        yielded; those that are not known locally are requested in batches of a quarter
        of that. While the iterator of rows blocks, no answer is yielded; with a window
        of 1, no row is read before the answer of the one before. timeout_seconds is
        that of a batch.

        A row's own InvalidInput, TooLarge or RunFailed is raised in its place, or
        yielded there with errors="return". All other errors of `predict` are raised.
        No answer follows an error that was raised. progress shows a bar on standard
        error. Raises TypeError, ValueError and, without rich for that, ImportError.
        """

        def submit(rows: list[Any]) -> Future[list[RowOutcome]]:
            thread = self._thread or self._started()
            return thread.submit(outcomes(self._core, rows, timeout_seconds))

        bar = Bar(self._core.address.model, rows) if progress else None
        options = StreamOptions(window, errors)
        return iterate(
            only_rows(rows), ReadAhead(self._core.lookup, submit, options, bar)
        )

    def start(self) -> Self:
        """Connect and learn the model now instead of on the first call."""
        self._started()
        return self

    def close(self) -> None:
        """Close connections. The client may be used again, and then connects again."""
        with self._starting:
            opening = self._opening
            self._opening = None
            self._thread = None
            if opening:
                self._before = opening.thread
        if opening:
            opening.thread.stop()

    def __del__(self) -> None:
        # It can no longer be closed, and a garbage collection must not wait.
        if self._opening:
            self._opening.thread.stop_soon()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _wait(
        self,
        inputs: InputColumns,
        timeout_seconds: float | None,
        request_id: str | None,
    ) -> list[Answer]:
        try:
            thread = self._thread or self._started()
            return thread.run(self._core.answers(inputs, timeout_seconds, request_id))
        except CancelledError:
            raise ConnectionFailed("the client was closed meanwhile") from None

    def _started(self) -> LoopThread:
        """Return the thread, once it has connected; the first caller starts it."""
        with self._starting:
            if self._opening is None:
                self._core.resume()
                thread = LoopThread(self._core.close, self._before)
                self._opening = _Opening(thread, thread.submit(self._open()))
            opening = self._opening
        try:
            opening.connected.result()
        except BaseException:
            self._give_up(opening)
            raise
        with self._starting:
            if self._opening is opening:  # it was not closed meanwhile
                self._thread = opening.thread
        return opening.thread

    def _give_up(self, opening: _Opening) -> None:
        """Stop a thread that could not connect, unless another caller does."""
        with self._starting:
            if self._opening is not opening:
                return
            self._opening = None
            self._before = opening.thread
        opening.thread.stop()

    def _after_fork(self) -> None:
        never_destroy(self._opening)
        self._thread = None
        self._opening = None
        self._before = None
        self._starting = threading.Lock()
        super()._after_fork()


_clients: "weakref.WeakSet[Client]" = weakref.WeakSet()


@atexit.register
def _close() -> None:
    for client in list(_clients):
        client.close()
