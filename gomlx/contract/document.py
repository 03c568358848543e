"""The contract document: what a client must know about a model, as JSON.

    {"format": 1, "model": …, "version": …,
     "signature": {"inputs": [{"name", "dtype", "shape"}, …], "outputs": …,
                   "auxiliaries": …},
     "kinds": [one per input and auxiliary input, {"kind": "vocabulary", …}],
     "transforms": …, "ttl_seconds": …, "max_rows": …, "max_body_bytes": …,
     "rows_together": …}

Integers have all their digits, and floats the digits that read back to the same float;
bytes are {"b64": "…"}, and floats for which JSON has no digits are {"float": "inf"}.
Readers ignore keys that they do not know. With `rows_together`, the format is 2: a
reader that only knows single rows as questions must not take it for one of its own.
"""

import base64
import math
from dataclasses import dataclass, fields
from hashlib import blake2b
from typing import Any

import orjson

from gomlx.contract.canonical import KINDS, Kind, Vocabulary
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Scalar
from gomlx.contract.values.binary import to_base64
from gomlx.contract.values.slices import as_json

_FORMATS = (1, 2)  # of questions that are rows, and of those that are requests
_SETTINGS = (
    "transforms",
    "ttl_seconds",
    "max_rows",
    "max_body_bytes",
    "rows_together",
)


@dataclass(frozen=True)
class Contract:
    """One version of a model as clients see it.

    kinds has one for every input and auxiliary input, in row order. transforms is true
    if answers are what a transformer makes, not the outputs. An answer may be kept for
    ttl_seconds; 0 if it may not be kept. max_rows and max_body_bytes limit one request.
    rows_together: the question is a whole request: its rows, in their order, have one
    key (`request_key`), and one answer, the list of theirs.
    """

    model: str
    version: str
    signature: Signature
    kinds: tuple[Kind, ...]
    transforms: bool
    ttl_seconds: float
    max_rows: int
    max_body_bytes: int
    rows_together: bool = False

    @property
    def format(self) -> int:
        """The number of the document's format."""
        return _FORMATS[self.rows_together]

    @property
    def tag(self) -> str:
        """The document's entity tag (ETag, unquoted): VERSION-DIGEST OF SETTINGS."""
        settings = [float(getattr(self, name)) for name in _SETTINGS]
        digest = blake2b(orjson.dumps([self.format, settings]), digest_size=8)
        return f"{self.version}-{digest.hexdigest()}"

    def dump(self) -> bytes:
        """Return the document as UTF-8 JSON. A million values take a second or so."""
        document = {
            "format": self.format,
            "model": self.model,
            "version": self.version,
            "signature": self.signature.to_json(),
            "kinds": list(map(_kind_to_json, self.kinds)),
        }
        settings = {name: getattr(self, name) for name in _SETTINGS}
        return orjson.dumps(document | settings)

    @classmethod
    def parse(cls, data: bytes) -> "Contract":
        """Read a document. Raises ValueError if it is not one of this format."""
        try:
            document = orjson.loads(data)
            is_together = bool(document.get("rows_together", False))
            if document["format"] != _FORMATS[is_together]:
                raise ValueError(f"format {document['format']!r}")
            signature = Signature.from_json(document["signature"])
            kinds = tuple(map(_kind_from_json, document["kinds"]))
            if len(kinds) != len(signature.fields):
                raise ValueError(f"{len(kinds)} kinds")
            return cls(
                str(document["model"]),
                str(document["version"]),
                signature,
                kinds,
                bool(document["transforms"]),
                float(document["ttl_seconds"]),
                int(document["max_rows"]),
                int(document["max_body_bytes"]),
                is_together,
            )
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise ValueError(f"not a contract: {error!r}") from None


def _kind_to_json(kind: Kind) -> dict[str, Any]:
    values = {field.name: getattr(kind, field.name) for field in fields(kind)}
    return {"kind": kind.kind} | {k: _to_json(v) for k, v in values.items()}


def _kind_from_json(document: dict[str, Any]) -> Kind:
    kind = KINDS[document["kind"]]
    values = {field.name: _from_json(document[field.name]) for field in fields(kind)}
    if kind is Vocabulary:
        values["known"] = frozenset(values["known"])
    return kind(**values)


def _to_json(value: Any) -> Any:
    if isinstance(value, frozenset | tuple):
        return as_json([_scalar_to_json(element) for element in value])
    return _scalar_to_json(value)


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple([_scalar_from_json(element) for element in value])
    return _scalar_from_json(value)


def _scalar_to_json(value: Scalar) -> Any:
    if isinstance(value, bytes):
        return to_base64(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def _scalar_from_json(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if "b64" in value:
        return base64.b64decode(value["b64"], validate=True)
    return float(value["float"])
