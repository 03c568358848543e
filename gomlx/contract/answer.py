"""One row's outputs ↔ bytes: compact UTF-8 JSON that a response joins undecoded.

`{"expand":3.5714285}`: outputs in signature order, a scalar for outputs of shape [n]
or [n, 1], nested lists for wider ones, and for a [n, 1] whose shape may vary. Floats
have the shortest digits that read back to the same float of their width, and no
exponent (some readers refuse large ones). NaN and the infinities are the strings "NaN",
"Infinity" and "-Infinity", as in protobuf's JSON. Text that is not UTF-8 is
`{"b64":"…"}`, as in TensorFlow Serving's REST API. Arrays are numpy arrays; numpy
itself is not imported.
"""

import math
import re
from collections.abc import Collection, Iterator, Sequence
from copy import copy
from decimal import Decimal
from itertools import pairwise
from typing import Any

import orjson

from gomlx.contract.output import ValueCheck, strict_validator, validator
from gomlx.contract.tensor import Row, Tensor
from gomlx.contract.values.binary import to_base64

# A number with an exponent, or a text, in which there may be what looks like one.
_EXPONENT = re.compile(rb'"(?:[^"\\]|\\.)*"|(?<=[\[,:])-?[\d.]+e[-+]?\d+')
# How a small number begins without its exponent, by that.
_BEGINNINGS = {b"%d" % n: b"0." + b"0" * (n - 1) for n in range(1, 50)}


class AnswerFormat:
    """Writes the answers of one version, whose outputs these are."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        names = [orjson.dumps(tensor.name) for tensor in outputs]
        self._parts = [
            (
                (b"," if i else b"{") + name + b":",
                b"" if i + 1 < len(outputs) else b"}",
                # By the signature, not by the array: a list of any length may have
                # length 1.
                tensor.is_scalar,
                bool(tensor.ragged or tensor.is_sparse),
            )
            for i, (name, tensor) in enumerate(zip(names, outputs, strict=True))
        ]

    def encode(self, arrays: Sequence[Any]) -> list[bytes]:
        """Return the answer of each of n rows.

        arrays has one array per output, of shape [n, …]; of a ragged or sparse output,
        the list of `ragged_texts` or `sparse_texts`. Raises ValueError if their n
        differ.
        """
        columns = []
        for array, (start, end, squeezes, are_texts) in zip(
            arrays, self._parts, strict=True
        ):
            tokens = array if are_texts else _tokens(array, squeezes)
            columns.append([start + token + end for token in tokens])
        if len(columns) == 1:
            return columns[0]
        return list(map(b"".join, zip(*columns, strict=True)))


class SharedAnswers:
    """The names of one version's answers in shared tiers, and their validation.

    Values of shared tiers are untrusted: other hosts write them. outputs is empty if a
    transformer makes the answers; then any JSON may be one.
    """

    def __init__(self, model: str, version: str, outputs: Sequence[Tensor]) -> None:
        self._prefix = f"gomlx:1:{model}:{version}:".encode()
        self._names = [tensor.name for tensor in outputs]
        self._validators = [validator(tensor) for tensor in outputs]
        self._strict_validators = [strict_validator(tensor) for tensor in outputs]
        # PERF: a thousand probabilities take a quarter of the time.
        self._without_exponents = (
            _numbers_without_exponents
            if all("float" in t.dtype and "," not in t.name for t in outputs)
            else _without_exponents
        )

    def name(self, key: bytes) -> bytes:
        """Return the name of a key's answer: gomlx:1:MODEL:VERSION:KEY in hex."""
        return self._prefix + key.hex().encode()

    def for_rows(self, rows: Collection[Row]) -> "SharedAnswers":
        """Return what validates the answers of these rows."""
        return self

    def is_answer(self, value: bytes) -> bool:
        """True if a value may be what a service has written: this answer, these bytes.

        Outputs, order, shapes, types and ranges fit, and written again, the answer has
        the same bytes: no key twice, no spaces, no digit more or less. Only how many
        digits a float's width needs is not looked at.
        """
        try:
            answer = orjson.loads(value)
            return self._fits(answer, self._strict_validators) and self._has_written(
                answer, value
            )
        except (orjson.JSONDecodeError, TypeError):  # deeper than orjson writes
            return False

    def admits(self, answer: Any) -> bool:
        """True if parsed JSON, of whoever wrote it, may be an answer."""
        return self._fits(answer, self._validators)

    def _fits(self, answer: Any, validators: Sequence[ValueCheck]) -> bool:
        if not self._names:
            return True
        return (
            type(answer) is dict
            and list(answer) == self._names
            and all(
                is_valid(v)
                for is_valid, v in zip(validators, answer.values(), strict=True)
            )
        )

    def _has_written(self, answer: Any, value: bytes) -> bool:
        text = orjson.dumps(answer)
        # The floats of transformers keep their exponents.
        if (b"e-" in text or b"e+" in text) and self._names:
            text = self._without_exponents(text)
        return text == value


class SharedLists(SharedAnswers):
    """The same where the rows of a request are answered together: lists of answers.

    size: how many answers a list has; 0: any number but none.
    """

    size = 0

    def for_rows(self, rows: Collection[Row]) -> "SharedLists":
        (together,) = rows  # a request is one question, whose row is all of its rows
        return self.of(len(together))

    def of(self, size: int) -> "SharedLists":
        """Return what validates the answer to so many rows."""
        found = copy(self)
        found.size = size
        return found

    def _fits(self, answer: Any, validators: Sequence[ValueCheck]) -> bool:
        if type(answer) is not list or len(answer) != (self.size or len(answer) or 1):
            return False
        fits = super()._fits
        return all(fits(one, validators) for one in answer)


def joined(answers: Sequence[bytes]) -> bytes:
    """Return a JSON list of answers: the `data` of a response to a batch."""
    return b"[" + b",".join(answers) + b"]"


def ragged_texts(values: Any, splits: Sequence[Any]) -> list[bytes]:
    """Return the JSON text of each row of a ragged output.

    values: an array of the elements of all rows. splits: for each level of lists, from
    the outermost, where each list begins, and where the last one ends.
    """
    texts = list(_tokens(values, False))
    for ends in reversed(splits):
        pairs = pairwise(ends.tolist())
        texts = [b"[" + b",".join(texts[a:b]) + b"]" for a, b in pairs]
    return texts


def sparse_texts(indices: Any, values: Any, shape: Any) -> list[bytes]:
    """Return the JSON text of each row of a sparse output.

    indices: [elements, rank]; values: [elements]; shape: [rank]. The first dimension is
    that of the rows.
    """
    rows, *dims = shape.tolist()
    places: list[list[Any]] = [[] for _ in range(rows)]
    texts: list[list[bytes]] = [[] for _ in range(rows)]
    for (row, *index), text in zip(indices.tolist(), _elements(values), strict=True):
        places[row].append(index)
        texts[row].append(text)
    size = orjson.dumps(dims)
    return [
        b'{"indices":%b,"values":[%b],"shape":%b}'
        % (orjson.dumps(index), b",".join(text), size)
        for index, text in zip(places, texts, strict=True)
    ]


def _tokens(array: Any, squeezes: bool) -> Sequence[bytes]:
    """Return the JSON text of each row of one output; squeezes: [n, 1] is as [n]."""
    if array.ndim == 1 or (squeezes and array.shape[1:] == (1,)):
        return _elements(array)
    return [_nested(row.shape, iter(_elements(row))) for row in array]


def _elements(array: Any) -> Sequence[bytes]:
    """Return the JSON text of each element of an array, row-major."""
    array = array.ravel()  # contiguous, as orjson needs it
    kind = array.dtype.kind
    if kind == "O":
        return [_text(value) for value in array]
    if kind == "V":  # bfloat16; PERF: to ask for its name costs 2 us
        array = array.astype("float32")
        kind = "f"
    elif kind == "f" and array.dtype.itemsize == 2:
        # orjson widens float16, and prints the digits of the wider type
        return [_float(str(v).encode(), float(v)) for v in array]
    text = orjson.dumps(array, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1]
    tokens: list[bytes] = text.split(b",") if text else []
    if kind == "f" and (b"e" in text or b"null" in text):
        return list(map(_float, tokens, array.tolist()))
    return tokens


def _nested(shape: Sequence[int], tokens: Iterator[bytes]) -> bytes:
    """Return nested JSON lists of a shape; tokens are the elements, row-major."""
    if not shape:
        return next(tokens)
    rest = shape[1:]
    return b"[" + b",".join([_nested(rest, tokens) for _ in range(shape[0])]) + b"]"


def _float(token: bytes, value: float) -> bytes:
    """Return a float's JSON text without an exponent; token has its digits."""
    if math.isnan(value):
        return b'"NaN"'
    if math.isinf(value):
        return b'"Infinity"' if value > 0 else b'"-Infinity"'
    if b"e" not in token:
        return token
    text = format(Decimal(token.decode()), "f")
    return (text if "." in text else f"{text}.0").encode()


def _without_exponents(text: bytes) -> bytes:
    """Return JSON with all numbers written without an exponent."""
    return _EXPONENT.sub(_without_exponent, text)


def _without_exponent(found: "re.Match[bytes]") -> bytes:
    token = found[0]
    return token if token[:1] == b'"' else _float(token, 0.0)


def _numbers_without_exponents(text: bytes) -> bytes:
    """Return the same for JSON in which a comma ends each number, but for brackets."""
    tokens = text.split(b",")
    for i, token in enumerate(tokens):
        if b"e" not in token:
            continue
        head, _, exponent = token.partition(b"e-")
        digits = head.replace(b".", b"", 1)
        if digits.isdigit() and exponent in _BEGINNINGS:
            tokens[i] = _BEGINNINGS[exponent] + digits
        else:
            tokens[i] = _without_exponents(b"," + token)[1:]
    return b",".join(tokens)


def _text(value: bytes | str) -> bytes:
    """Return a text's JSON text; an object with its base64 if it is not UTF-8."""
    data = value.encode() if isinstance(value, str) else value
    try:
        return orjson.dumps(data.decode())
    except UnicodeDecodeError:
        return orjson.dumps(to_base64(data))
