"""One row's outputs ↔ bytes: compact UTF-8 JSON that a response joins undecoded.

`{"expand":3.5714285}`: outputs in signature order, a scalar for outputs of shape [n]
or [n, 1], nested lists for wider ones. Floats have the shortest digits that read
back to the same float of their width, never an exponent (readers exist that refuse
large ones); NaN and the infinities are strings; text that is not UTF-8 is
`{"b64":"…"}`. Arrays are taken as numpy arrays, without importing numpy.
"""

import base64
import math
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import orjson

from gomlx.contract.output import check
from gomlx.contract.tensor import Tensor


class AnswerFormat:
    """Writes the answers of one version."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        # The signature decides, not the array: a list of any length may have one.
        self._squeezes = [t.is_scalar or t.shape is None for t in outputs]
        names = [orjson.dumps(tensor.name) for tensor in outputs]
        self._prefixes = [b"{" + names[0] + b":"]
        self._prefixes += [b"," + name + b":" for name in names[1:]]

    def encode(self, arrays: Sequence[Any]) -> list[bytes]:
        """Return each row's answer from one array per output, of shape [n, …]."""
        columns = [
            [prefix + token for token in _tokens(array, squeezes)]
            for prefix, array, squeezes in zip(
                self._prefixes, arrays, self._squeezes, strict=True
            )
        ]
        if len(columns) == 1:
            return [part + b"}" for part in columns[0]]
        return [b"".join(parts) + b"}" for parts in zip(*columns, strict=True)]


class SharedAnswers:
    """How one version's answers are named, and known, in tiers that others write to.

    outputs is empty when a transformer makes the answers: then any JSON may be one.
    """

    def __init__(self, model: str, version: str, outputs: Sequence[Tensor]) -> None:
        self._prefix = f"gomlx:1:{model}:{version}:".encode()
        self._names = [tensor.name for tensor in outputs]
        self._checks = [check(tensor) for tensor in outputs]

    def name(self, key: bytes) -> bytes:
        """Return the name under which a key's answer stands."""
        return self._prefix + key.hex().encode()

    def is_answer(self, value: bytes) -> bool:
        """True for what may be an answer: outputs, order, shapes, types, ranges."""
        if b"\n" in value:
            return False
        try:
            return self.admits(orjson.loads(value))
        except orjson.JSONDecodeError:
            return False

    def admits(self, answer: Any) -> bool:
        """What `is_answer` tells, of an answer that has been parsed."""
        if not self._names:
            return True
        return (
            type(answer) is dict
            and list(answer) == self._names
            and all(ok(v) for ok, v in zip(self._checks, answer.values(), strict=True))
        )


def joined(answers: Sequence[bytes]) -> bytes:
    """Return the `data` of a response to a batch."""
    return b"[" + b",".join(answers) + b"]"


def _tokens(array: Any, squeezes: bool) -> Sequence[bytes]:
    """The JSON text of each row of one output; squeezes: [n, 1] counts as [n]."""
    if squeezes and array.ndim == 2 and array.shape[1] == 1:
        array = array.reshape(-1)
    if array.ndim == 1:
        return _elements(array)
    return [_nested(row.shape, iter(_elements(row.reshape(-1)))) for row in array]


def _elements(array: Any) -> Sequence[bytes]:
    """The JSON text of each element of a rank 1 array."""
    if array.dtype.kind == "O":
        return [_text(value) for value in array]
    if not len(array):
        return []
    if array.dtype.itemsize == 2 and array.dtype.kind == "f":
        # orjson widens float16, and prints the digits of the wider type
        return [_float(str(v).encode(), float(v)) for v in array]
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    tokens: list[bytes] = text.split(b",")
    if array.dtype.kind == "f" and (b"e" in text or b"null" in text):
        values = array.tolist()
        return [_float(t, v) for t, v in zip(tokens, values, strict=True)]
    return tokens


def _nested(shape: Sequence[int], tokens: Iterator[bytes]) -> bytes:
    if not shape:
        return next(tokens)
    rest = shape[1:]
    return b"[" + b",".join([_nested(rest, tokens) for _ in range(shape[0])]) + b"]"


def _float(token: bytes, value: float) -> bytes:
    if math.isnan(value):
        return b'"NaN"'
    if math.isinf(value):
        return b'"Infinity"' if value > 0 else b'"-Infinity"'
    if b"e" not in token:
        return token
    text = format(Decimal(token.decode()), "f")
    return (text if "." in text else f"{text}.0").encode()


def _text(value: bytes | str) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    try:
        return orjson.dumps(data.decode())
    except UnicodeDecodeError:
        return orjson.dumps({"b64": base64.b64encode(data).decode()})
