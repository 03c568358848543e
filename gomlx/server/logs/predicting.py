"""The predictor with a log of rows, for the models that have one."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from gomlx.errors import GomlxError
from gomlx.models.serving.current import LiveVersion
from gomlx.models.version import model_of
from gomlx.server.logs.rows import AnsweredRequest, RowRecorder, VersionFacts
from gomlx.server.predict.lookup import VersionLookup
from gomlx.server.predict.model import ModelPredictor
from gomlx.server.predict.parse import ParsedRequest
from gomlx.server.predict.policy import CachePolicy
from gomlx.server.predict.predictor import Predictor
from gomlx.server.predict.reply import Reply
from gomlx.server.predict.request import PendingRequest, Requester

log = logging.getLogger(__name__)

_hit = VersionLookup.hit  # PERF: super() makes an object for each call


class RecordingPredictor(Predictor):
    """Answers the requests of one worker, and logs rows of some models."""

    def __init__(self, recorders: Mapping[str, RowRecorder], *parts: Any) -> None:
        """recorders: by configured model. parts: a Predictor's."""
        self._recorders = recorders
        super().__init__(*parts)

    def _model(self, name: str, *parts: Any) -> ModelPredictor:
        recorder = self._recorders.get(model_of(name))
        if recorder is None:
            return super()._model(name, *parts)
        return RecordingModelPredictor(recorder, name, *parts)


class RecordingModelPredictor(ModelPredictor):
    """Answers the requests for one model, and logs rows of them."""

    def __init__(self, recorder: RowRecorder, *parts: Any) -> None:
        super().__init__(*parts)
        self._recorder = recorder

    def ended(self, pending: PendingRequest, error: GomlxError | None) -> None:
        """Reply to a request that had to wait, and log rows of it."""
        recorder = self._recorder
        if error is None:
            recorder.gap -= len(pending.answers)
        if error is None and recorder.gap < 0:
            answered = _answered(pending)  # now: a requester has the next one soon
            super().ended(pending, error)
            recorder.record(answered)
        else:
            super().ended(pending, error)

    def _version_lookup(self, live: LiveVersion, policy: CachePolicy) -> VersionLookup:
        return RecordingLookup(self._recorder, live, policy, self._max_rows)

    def _release(self, requester: Requester) -> None:
        """Keep a large text until the reply: rows of it may be logged."""


class RecordingLookup(VersionLookup):
    """Answers requests from this host's cache, and logs rows of them."""

    def __init__(
        self,
        recorder: RowRecorder,
        live: LiveVersion,
        policy: CachePolicy,
        max_rows: int,
    ) -> None:
        super().__init__(live, policy, max_rows)
        self._recorder = recorder
        self._facts = VersionFacts.of(live)
        if unknown := recorder.unknown_fields(live):
            names = ", ".join(sorted(unknown))
            name = live.servable.version.name
            log.warning("model %s: log.fields has names it has not: %s", name, names)

    def hit(
        self,
        requester: Requester,
        parsed: ParsedRequest,
        seconds: float,
        answers: Sequence[bytes],
    ) -> Reply:
        """Return the reply where all rows are cached; log rows of it."""
        reply = _hit(self, requester, parsed, seconds, answers)
        recorder = self._recorder
        recorder.gap -= len(answers)
        if recorder.gap < 0:
            text = requester.text
            called = requester.request_id
            status = reply.cache_status
            recorder.record(
                AnsweredRequest(self._facts, text, parsed, answers, status, called)
            )
        return reply


def _answered(pending: PendingRequest) -> AnsweredRequest:
    """Return a request that had to wait, and has all answers."""
    answers: list[bytes] = pending.answers  # type: ignore[assignment] # none is None
    requester = pending.requester
    return AnsweredRequest(
        VersionFacts.of(pending.live),
        requester.text,
        pending.parsed,
        answers,
        pending.cache_status(),
        requester.request_id,
    )
