"""Streams that are recorded: one span, with the steps of the first lines in it."""

from collections.abc import AsyncIterator
from math import inf
from time import perf_counter
from typing import Any, Protocol, cast

from gomlx.server.body import BodyParts
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.request import CallbackRequester, OnReply, WaitingRequest
from gomlx.server.recording.heads import AnswersLines


class ClosesStream(Protocol):
    """The body of a response, in parts."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def __anext__(self) -> bytes: ...

    async def close(self) -> None:
        """End it, complete or not."""


class StreamRecording:
    """A stream whose span ends with it."""

    def __init__(self, stream: ClosesStream, lines: AnswersLines) -> None:
        self._stream = stream
        self._lines = lines

    def __aiter__(self) -> AsyncIterator[bytes]:
        aiter(self._stream)
        return self

    async def __anext__(self) -> bytes:
        return await anext(self._stream)

    async def close(self) -> None:
        """End the stream, and send what is recorded."""
        try:
            await self._stream.close()
        finally:
            self._lines.end()


def recording_predictor(predictor: Predictor, lines: AnswersLines) -> Predictor:
    """Return a predictor for one stream, whose lines are recorded."""
    return cast(Predictor, _RecordingPredictor(predictor, lines))


class _RecordingPredictor:
    """A Predictor, but for how lines are submitted."""

    def __init__(self, predictor: Predictor, lines: AnswersLines) -> None:
        self._predictor = predictor
        self._lines = lines

    def __getattr__(self, name: str) -> Any:
        return getattr(self._predictor, name)

    def submit(
        self,
        _: str,
        text: bytes | str | BodyParts,
        on_reply: OnReply,
        timeout_seconds: float = inf,
        request_id: str = "",
    ) -> WaitingRequest | None:
        """Do what `Predictor.submit` does, and record it."""
        arrived = perf_counter()
        requester = CallbackRequester(
            text, on_reply, arrived, timeout_seconds, request_id
        )
        self._lines.predict(requester)
        return requester.pending
