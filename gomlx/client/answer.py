"""An answer, as users get it and as the local cache keeps it."""

import base64
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import orjson

from gomlx.client.metrics import LOCAL, REDIS, SERVER
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError

_FLAT = frozenset({str, bytes, int, float, bool, type(None)})
_OVERHEAD_BYTES = 250  # an entry's objects, and the cache's own


class AnswerOrigin(NamedTuple):
    """Where an answer comes from. Its fields are the properties of Answer."""

    version: str
    tier: str
    cached: bool


class Answer(dict[str, Any]):
    """One row's outputs by name. Each call returns a new dict, which you may change.

    Floats are floats, NaN and the infinities too; text is str, or bytes when it is not
    UTF-8; outputs of more than one element are nested lists. The answer of a
    transformer is as JSON has it; if that is not an object, it stands under the name
    `answer`.
    """

    __slots__ = ("origin", "seconds")
    origin: AnswerOrigin
    """Its version, tier and cached in one object."""
    seconds: float
    """How long the call took."""

    @property
    def cached(self) -> bool:
        """True when no model ran for it; of a batch, when none ran for any row."""
        return self.origin.cached

    @property
    def tier(self) -> str:
        """`local`, `redis`, or what the service reports: `L1`, …, `model`; `server`."""
        return self.origin.tier

    @property
    def version(self) -> str:
        """The digest of the model's version that computed it."""
        return self.origin.version


RowOutcome = Answer | GomlxError  # a row's answer, or the error in its place


class AnswerEntry:
    """A row's answer or its error, as it is fetched and as it is kept.

    text: the answer in JSON. values: the outputs if all are immutable, else None; they
    are then read from text for each answer. expires_at: in seconds of perf_counter,
    once it is kept. size_bytes: about what it takes in memory.
    """

    __slots__ = ("error", "expires_at", "origin", "size_bytes", "text", "values")

    def __init__(
        self,
        text: bytes,
        values: dict[str, Any] | None,
        origin: AnswerOrigin,
        expires_at: float = 0.0,
        error: GomlxError | None = None,
    ) -> None:
        self.text = text
        self.values = values
        self.origin = origin
        self.expires_at = expires_at
        self.error = error
        self.size_bytes = _OVERHEAD_BYTES + 2 * len(text)


class AnswerReader:
    """Reads the answers of one version. outputs: empty if a transformer makes them."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._decoders: dict[str, Callable[[Any], Any]] = {
            tensor.name: _floats if "float" in tensor.dtype else _texts
            for tensor in outputs
            if "float" in tensor.dtype or tensor.dtype == "string"
        }

    def entry(self, text: bytes, origin: AnswerOrigin, document: Any) -> AnswerEntry:
        """Return the entry of an answer in JSON.

        document: what text decodes to; it may be changed and kept. Raises KeyError,
        TypeError or ValueError if it does not fit the outputs.
        """
        values = self._values(document)
        is_flat = _FLAT.issuperset(map(type, values.values()))
        return AnswerEntry(text, values if is_flat else None, origin)

    def answer(self, entry: AnswerEntry, seconds: float) -> Answer:
        """Return a new answer. Raises the error of a row that failed."""
        # PERF: part of every local hit (python -m loadtests.parts.client). The fields
        # are assigned here, because a constructor's call would take 0.05 us more.
        if entry.error is not None:
            raise type(entry.error).from_message(str(entry.error))
        values = entry.values
        if values is None:
            values = self._values(orjson.loads(entry.text))
        answer = Answer(values)
        answer.origin = entry.origin
        answer.seconds = seconds
        return answer

    def answers(self, entry: AnswerEntry, seconds: float) -> list[Answer]:
        """Return the new answers of rows that were answered together, as a list.

        Raises the error of a request that failed.
        """
        if entry.error is not None:
            raise type(entry.error).from_message(str(entry.error))
        found = []
        documents = orjson.loads(entry.text)
        if type(documents) is dict:  # of a newer version, which answers row by row
            documents = [documents]
        for document in documents:
            answer = Answer(self._values(document))
            answer.origin = entry.origin
            answer.seconds = seconds
            found.append(answer)
        return found

    def _values(self, document: Any) -> dict[str, Any]:
        if type(document) is not dict:
            return {"answer": document}
        for name, decode in self._decoders.items():
            if type(value := document.get(name)) is not float:
                document[name] = decode(value)
        return document


def raise_first_error(entries: Sequence[AnswerEntry]) -> None:
    """Raise the error of the first row that failed, if any did."""
    for entry in entries:
        if entry.error is not None:
            raise type(entry.error).from_message(
                str(entry.error), entry.error.retry_after
            )


def furthest_tier(entries: Sequence[AnswerEntry]) -> str:
    """Return the furthest tier that was needed: LOCAL, REDIS or SERVER."""
    tiers = {entry.origin.tier for entry in entries}
    if tiers == {LOCAL}:
        return LOCAL
    return REDIS if tiers <= {LOCAL, REDIS} else SERVER


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(element) for element in value]
    return float(value) if isinstance(value, str) else value  # "NaN", "-Infinity"


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(element) for element in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
