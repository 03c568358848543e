"""AsyncClient: the same core as Client, on the caller's event loop."""

import asyncio
import atexit
import weakref
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import Any, Literal, Self, overload

from gomlx.client.answer import Answer, RowOutcome
from gomlx.client.base import ClientBase
from gomlx.client.columns import columns_of_batch, columns_of_row, only_rows
from gomlx.client.forks import never_destroy
from gomlx.client.progress import Bar
from gomlx.client.stream.iterate import iterate_async
from gomlx.client.stream.outcomes import outcomes
from gomlx.client.stream.window import ReadAhead, StreamOptions
from gomlx.errors import GomlxError


class AsyncClient(ClientBase):
    """A Client for the event loop that it is first used on."""

    _opening: "asyncio.Task[None] | None" = None
    _loop: asyncio.AbstractEventLoop | None = None

    def _set_up(self) -> None:
        _clients.add(self)

    async def predict(
        self,
        row: Mapping[str, Any] | None = None,
        /,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
        **inputs: Any,
    ) -> Answer:
        """Return the answer of one row; see Client.predict."""
        if row is None:
            row = inputs
        elif inputs:
            row = {**row, **inputs}
        answer = self._core.lookup(row)
        if answer is not None:
            return answer
        await self.start()
        inputs_of_row = columns_of_row(row)
        return (await self._core.answers(inputs_of_row, timeout_seconds, request_id))[0]

    async def predict_batch(
        self,
        columns: Any,
        /,
        *,
        timeout_seconds: float | None = None,
        request_id: str | None = None,
    ) -> list[Answer]:
        """Return the answers of many rows, in order; see Client.predict_batch."""
        inputs = columns_of_batch(columns)
        answers = self._core.lookup_many(inputs)
        if answers:
            return answers
        await self.start()
        return await self._core.answers(inputs, timeout_seconds, request_id)

    @overload
    def stream(
        self,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["raise"] = "raise",
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[Answer, None]: ...

    @overload
    def stream(
        self,
        rows: Iterable[Mapping[str, Any]] | AsyncIterable[Mapping[str, Any]],
        /,
        *,
        window: int = 1024,
        errors: Literal["return"],
        progress: bool = False,
        timeout_seconds: float | None = None,
    ) -> AsyncGenerator[RowOutcome, None]: ...

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

        A task of its own reads the rows, so answers are yielded while it waits for one.
        """

        async def answered(rows: list[Any]) -> list[RowOutcome]:
            try:
                await self.start()
            except GomlxError as error:
                return [error] * len(rows)
            return await outcomes(self._core, rows, timeout_seconds)

        def submit(rows: list[Any]) -> "asyncio.Future[list[RowOutcome]]":
            return asyncio.create_task(answered(rows))

        bar = Bar(self._core.address.model, rows) if progress else None
        options = StreamOptions(window, errors)
        return iterate_async(
            only_rows(rows), ReadAhead(self._core.lookup, submit, options, bar)
        )

    async def start(self) -> Self:
        """Connect and learn the model now instead of on the first call."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise RuntimeError("an AsyncClient belongs to the loop it was started on")
        if self._opening is None or (self._opening.done() and not self._is_open):
            self._core.resume()
            self._loop = loop
            self._opening = loop.create_task(self._open())
        if not self._opening.done():
            await asyncio.shield(self._opening)
        return self

    async def close(self) -> None:
        """Close connections. The client may be used again, and then connects again."""
        if self._opening:
            self._opening.cancel()
        self._opening = None
        self._loop = None
        await self._core.close()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    @property
    def _is_open(self) -> bool:
        return self._core.session is not None

    def _after_fork(self) -> None:
        never_destroy((self._loop, self._opening))
        self._loop = None
        self._opening = None
        super()._after_fork()


_clients: "weakref.WeakSet[AsyncClient]" = weakref.WeakSet()


@atexit.register
def _leave_open() -> None:
    # Of clients that were not closed; their HTTP library would complain about each
    # connection, although the end of the process closes them all.
    for client in list(_clients):
        never_destroy(client)
