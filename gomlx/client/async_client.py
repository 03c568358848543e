"""AsyncClient: the same core as Client, on the caller's event loop."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, Iterable, Mapping
from typing import Any, Literal, Self, overload

from gomlx.client.answer import Answer
from gomlx.client.base import Base
from gomlx.client.columns import batch, one_by_one, one_row
from gomlx.client.forks import leave_alone
from gomlx.client.progress import Bar
from gomlx.client.stream import Choices, Outcome, Window, outcomes, streamed_async
from gomlx.errors import GomlxError


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
        elif inputs:
            row = {**row, **inputs}
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
    ) -> AsyncGenerator[Outcome, None]: ...

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
        return streamed_async(
            one_by_one(rows), Window(self._core, submit, choices, bar)
        )

    async def start(self) -> Self:
        """Connect and learn the model now instead of by the first call."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop and self._loop is not None:
            raise RuntimeError("an AsyncClient belongs to the loop it was started on")
        if self._opening is None or (self._opening.done() and not self._is_open):
            self._core.resume()
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

    def _forked(self) -> None:
        leave_alone((self._loop, self._opening))
        self._loop = self._opening = None
        super()._forked()
