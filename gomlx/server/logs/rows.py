"""The log of a model's requests: sampled rows with their answers.

Rows are as clients have sent them, for training and replay; which of their inputs and
outputs are in it, the config says.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from time import time
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

import orjson

from gomlx.contract.echoes import completed
from gomlx.contract.signature import RESERVED, Signature
from gomlx.contract.tensor import Tensor
from gomlx.models.serving.current import LiveVersion
from gomlx.runtime.logs import rfc_3339
from gomlx.server.body import BodyParts
from gomlx.server.logs.access import Origin
from gomlx.server.logs.sampling import Sampler
from gomlx.server.logs.writer import LineCounts, LineWriter
from gomlx.server.predict.parse import ParsedRequest

_LINE_BYTES = 512  # about, beside the row and the answer
_BATCH_SIZE = "batch_size"


class VersionFacts(NamedTuple):
    """What a line needs of a version, and that may outlive it."""

    model: str
    digest: str
    signature: Signature
    answers_together: bool

    @classmethod
    def of(cls, live: LiveVersion) -> "VersionFacts":
        """Return those of a live version."""
        name = live.servable.version.name
        return cls(name, live.digest, live.signature, live.answers_together)


class AnsweredRequest(NamedTuple):
    """A request and its answers. text: of a POST, or a GET's query (str)."""

    version: VersionFacts
    text: bytes | str | BodyParts
    parsed: ParsedRequest
    answers: Sequence[bytes]
    cache_status: str
    request_id: str = ""


class RowRecorder:
    """Logs sampled rows of one model, each with the same probability.

    gap: how many rows come before the next that is logged.

    PERF: who answers requests counts the gap down itself.
    """

    def __init__(
        self,
        sampler: Sampler,
        writer: LineWriter,
        counts: LineCounts,
        fields: Collection[str] | None,
    ) -> None:
        """fields: the inputs and outputs that are logged; None: all."""
        self._sampler = sampler
        self.gap = sampler.gap
        self._writer = writer
        self._counts = counts
        self._fields = fields

    def unknown_fields(self, live: LiveVersion) -> Collection[str]:
        """Return the fields that a version does not have, as far as that is known."""
        if live.servable.description.transformer:
            return ()  # its outputs have any names
        signature = live.signature
        outputs = {tensor.name for tensor in signature.answered}
        return {*(self._fields or ())} - {*signature.names} - outputs

    def record(self, request: AnsweredRequest) -> None:
        """Log rows of a request, for whose rows the gap was counted down below 0."""
        answers = request.answers
        rows = len(answers)
        place = rows + self.gap
        places = []
        while place < rows:
            places.append(place)
            place += 1 + self._sampler.next()
        self.gap = place - rows
        if isinstance(request.text, BodyParts):  # whose parts are dropped soon
            request = request._replace(text=request.text.joined())
        answered = time()
        self._writer.put(
            lambda: row_lines(request, places, answered, self._fields),
            len(request.text) + sum(len(answers[i]) + _LINE_BYTES for i in places),
            self._counts,
        )


def row_lines(
    request: AnsweredRequest,
    places: Sequence[int],
    answered: float,
    fields: Collection[str] | None,
) -> Iterator[bytes]:
    """Yield the lines of some rows of a request, answered at a time since the epoch."""
    version = request.version
    body = _decoded(request.text, version.signature)
    tensors = {tensor.name: tensor for tensor in version.signature.fields}
    keys = request.parsed.keys
    answers = request.answers
    if request.parsed.echoes:
        answers = completed(answers, request.parsed.echoes)
    origin = Origin.of(request.cache_status)
    for place in places:
        row = body if version.answers_together else _row(body, place, tensors)
        fields_of_line = {
            "time": rfc_3339(answered),
            "logger": "rows",
            "model": version.model,
            "version": version.digest,
            "key": keys[place].hex() if keys else None,
            "cache": origin.cache,
            "tier": origin.tier,
            "row": _allowed(row, fields),
            "answer": _allowed_answer(answers[place], fields),
        }
        if request.request_id:
            fields_of_line["request_id"] = request.request_id
        yield orjson.dumps(fields_of_line, option=orjson.OPT_APPEND_NEWLINE)


def _decoded(text: bytes | str | BodyParts, signature: Signature) -> Any:
    if isinstance(text, BodyParts):
        text = text.joined()
    if isinstance(text, str):
        return signature.parse(parse_qsl(text, keep_blank_values=True))
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:  # it has NaN, and is valid for this model
        return json.loads(text)


def _row(
    body: Mapping[str, Any], place: int, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Return one row of a request; what stands for all rows is in each."""
    names = [name for name in body if name not in RESERVED]
    if _BATCH_SIZE not in body:
        return {name: body[name] for name in names}
    return {name: _value(body[name], place, tensors[name]) for name in names}


def _value(column: Any, place: int, tensor: Tensor) -> Any:
    if tensor.is_shared and tensor.is_value(column):
        return column
    return column[place if len(column) > 1 else 0]


def _allowed(row: Mapping[str, Any], fields: Collection[str] | None) -> dict[str, Any]:
    if fields is None:
        return dict(row)
    return {k: v for k, v in row.items() if k in fields or k == _BATCH_SIZE}


def _allowed_answer(answer: bytes, fields: Collection[str] | None) -> Any:
    """Return the outputs that are allowed; a transformer's answer may have none."""
    found = orjson.loads(answer)
    if fields is None:
        return found
    if isinstance(found, list):  # of rows that are answered together
        return [_allowed(one, fields) for one in found if isinstance(one, dict)]
    return _allowed(found, fields) if isinstance(found, dict) else None
