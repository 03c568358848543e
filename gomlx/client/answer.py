"""An answer, as users get it and as the local cache keeps it."""

import base64
from collections.abc import Callable, Sequence
from sys import getsizeof
from typing import Any, NamedTuple

import orjson

from gomlx.client.metrics import LOCAL, REDIS, SERVER
from gomlx.contract.tensor import Tensor
from gomlx.errors import GomlxError

_FLAT = frozenset({str, bytes, int, float, bool, type(None)})
_OVERHEAD = 250  # bytes: an entry's objects, and the cache's own


class Origin(NamedTuple):
    """Where an answer is from."""

    version: str
    tier: str
    cached: bool


class Answer(dict[str, Any]):
    """One row's outputs by name. It is yours: nobody else has this dict.

    Floats are floats, NaN and the infinities too; text is str, or bytes when it is not
    UTF-8; outputs of more than one element are nested lists. What a transformer gave
    is as JSON has it; if that is no object, it stands under the name `answer`.
    """

    __slots__ = ("_origin", "seconds")
    _origin: Origin
    seconds: float
    """How long the call took."""

    @property
    def cached(self) -> bool:
        """True when no model had to run for it; of a batch, when none of it had to."""
        return self._origin.cached

    @property
    def tier(self) -> str:
        """`local`, `redis`, or what the service says: `L1`, …, `model`; `server`."""
        return self._origin.tier

    @property
    def version(self) -> str:
        """The digest of the model's version that gave it."""
        return self._origin.version


class Entry:
    """An answer, or how its row failed, as it is kept.

    values: the outputs when they are immutable; None: they are in text.
    """

    __slots__ = ("error", "origin", "size", "text", "until", "values")

    def __init__(
        self,
        text: bytes,
        values: dict[str, Any] | None,
        origin: Origin,
        until: float = 0.0,
        error: GomlxError | None = None,
    ) -> None:
        self.text, self.values, self.origin = text, values, origin
        self.until, self.error = until, error
        self.size = _OVERHEAD + 2 * len(text)


class Reader:
    """Reads the answers of one version. outputs is empty for what transformers make."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._special: dict[str, Callable[[Any], Any]] = {
            tensor.name: _floats if "float" in tensor.dtype else _texts
            for tensor in outputs
            if "float" in tensor.dtype or tensor.dtype == "string"
        }

    def entry(self, text: bytes, origin: Origin, found: Any) -> Entry:
        """Return an entry of an answer in JSON; found: what it was read to, is used."""
        values = self._values(found)
        is_flat = _FLAT.issuperset(map(type, values.values()))
        return Entry(text, values if is_flat else None, origin)

    def answer(self, entry: Entry, seconds: float) -> Answer:
        """Return a new answer. Raises the error of a row that has failed."""
        if entry.error is not None:
            raise type(entry.error).told(str(entry.error))
        values = entry.values
        if values is None:
            values = self._values(orjson.loads(entry.text))
        answer = Answer(values)
        answer._origin, answer.seconds = entry.origin, seconds
        return answer

    def _values(self, found: Any) -> dict[str, Any]:
        if type(found) is not dict:
            return {"answer": found}
        for name, read in self._special.items():
            if type(value := found.get(name)) is not float:
                found[name] = read(value)
        return found


def raise_first(entries: Sequence[Entry]) -> None:
    """Raise the error of the first row that has failed."""
    for entry in entries:
        if entry.error is not None:
            raise type(entry.error).told(str(entry.error), entry.error.retry_after)


def furthest(entries: Sequence[Entry]) -> str:
    """Return the furthest tier that was asked for any."""
    tiers = {entry.origin.tier for entry in entries}
    if tiers == {LOCAL}:
        return LOCAL
    return REDIS if tiers <= {LOCAL, REDIS} else SERVER


def key_size(key: Any) -> int:
    """Return about how many bytes a key takes."""
    if isinstance(key, tuple):
        return getsizeof(key) + sum(map(getsizeof, key))
    return getsizeof(key)


def _floats(value: Any) -> Any:
    if isinstance(value, list):
        return [_floats(element) for element in value]
    return float(value) if isinstance(value, str) else value  # "NaN", "-Infinity"


def _texts(value: Any) -> Any:
    if isinstance(value, list):
        return [_texts(element) for element in value]
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value
