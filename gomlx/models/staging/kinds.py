"""What each input's values collapse to, proved from the graph of the model.

An input's elements are followed to the operations that really use them. When each of
these is known to treat many values as one, so does the model. Whatever is not proved
is `exact`, and the reason says what stood in the way.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

from gomlx.contract.canonical import (
    Auxiliary,
    Buckets,
    Exact,
    Kind,
    Rounded,
    Vocabulary,
    cast,
)
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Scalar, Tensor
from gomlx.errors import StageFailed
from gomlx.models.staging.elements import BLIND
from gomlx.models.staging.flow import Flow, Use
from gomlx.models.version import Settings

_HASHES = ("StringToHashBucketFast", "StringToHashBucketStrong", "StringToHashBucket")
# A dense table fails for two keys of its own; what the others do not hold is one key.
_TABLES = ("HashTableV2", "MutableHashTableV2", "MutableHashTableOfTensorsV2")


class _Unproved(Exception):
    """A use that may tell any value from any other."""


@dataclass(frozen=True)
class _Evidence:
    """What one use can tell apart: known values, and what lies between thresholds."""

    text: str
    known: frozenset[Scalar] = frozenset()
    thresholds: tuple[int | float, ...] = ()


class Walk:
    """The walk through one loaded model."""

    def __init__(self, session: Any, flow: Flow, may_vary: bool) -> None:
        self._session, self._flow, self._may_vary = session, flow, may_vary
        self._contents: dict[str, frozenset[Scalar]] = {}

    def kinds(
        self, signature: Signature, feeds: Sequence[str], settings: Settings
    ) -> list[Kind]:
        """Return the kind of every field of a row. Raises StageFailed."""
        with self._session.graph.as_default():
            found = [
                _configured(tensor, settings) or self.kind(tensor, feed)
                for tensor, feed in zip(signature.inputs, feeds, strict=True)
            ]
        return found + [_auxiliary(t.name, settings) for t in signature.auxiliaries]

    def kind(self, tensor: Tensor, feed: str) -> Kind:
        """Return what is proved of an input."""
        if self._may_vary:
            return Exact(tensor.dtype, "the model may answer one question in two ways")
        uses, is_fetched = self._flow.ends(feed)
        if is_fetched:
            return Exact(tensor.dtype, "it is an output itself")
        try:
            return _collapsed(tensor, [self._evidence(use, tensor) for use in uses])
        except _Unproved as reason:
            return Exact(tensor.dtype, str(reason))

    def told_apart(self, tensor: Tensor, feed: str) -> frozenset[Scalar]:
        """Return the values that some use tells from others, whatever else does."""
        found: set[Scalar] = set()
        with self._session.graph.as_default():
            for use in self._flow.ends(feed)[0]:
                with suppress(_Unproved):
                    evidence = self._evidence(use, tensor)
                    found.update(evidence.known, evidence.thresholds)
        return frozenset(found)

    def _evidence(self, use: Use, tensor: Tensor) -> _Evidence:
        op, slot = use.node.op, use.slot
        if op in BLIND or (op in _HASHES and use.node.attr["num_buckets"].i == 1):
            return _Evidence("")
        if op == "Assert" and slot > 0:
            return _Evidence("")  # they are for the text of an error
        if op == "LookupTableFindV2" and slot == 1:
            return self._looked_up(use)
        if op in ("Equal", "NotEqual"):
            return self._compared(use)
        if op == "Bucketize":
            return _bucketized(use, tensor)
        raise _Unproved(f"{op} ({use.node.name}) takes its value")

    def _looked_up(self, use: Use) -> _Evidence:
        place = self._flow.source(use.input(0))
        node = self._flow.node(place)
        if place.frame.caller or node is None or node.op not in _TABLES:
            made = node.op if node is not None else "a caller"
            raise _Unproved(f"it is looked up in a table of an unproved kind ({made})")
        known = self._table(node.name)
        return _Evidence(f"looked up in {node.name} ({len(known)} values)", known)

    def _table(self, name: str) -> frozenset[Scalar]:
        """Return the keys of a table, as it holds them when the model is loaded."""
        if name not in self._contents:
            operation = self._session.graph.get_operation_by_name(name)
            exported = tf.raw_ops.LookupTableExportV2(
                table_handle=operation.outputs[0],
                Tkeys=operation.get_attr("key_dtype"),
                Tvalues=operation.get_attr("value_dtype"),
            )
            self._contents[name] = scalars(self._session.run(exported.keys))
        return self._contents[name]

    def _compared(self, use: Use) -> _Evidence:
        """Equality with a constant tells its elements from all else, wherever it is."""
        node = self._flow.node(self._flow.source(use.input(1 - use.slot)))
        if node is None or node.op != "Const":
            raise _Unproved(
                f"{use.node.op} ({use.node.name}) compares it with no constant"
            )
        known = scalars(tensor_util.MakeNdarray(node.attr["value"].tensor))
        return _Evidence(f"compared with {_shown(known)}", known)


def _configured(tensor: Tensor, settings: Settings) -> Kind | None:
    """Return the kind that the config gives an input, if any. Raises StageFailed."""
    if tensor.name in settings.wildcards:
        return Exact(tensor.dtype, "the config says wildcard")
    precision = settings.precisions.get(tensor.name)
    if precision is None:
        return None
    if "float" not in tensor.dtype:
        what = f"input {tensor.name!r} is of dtype {tensor.dtype}"
        raise StageFailed(f"{what}: only floats have a precision")
    return Rounded(tensor.dtype, precision, "the config gives its precision")


def _auxiliary(name: str, settings: Settings) -> Kind:
    is_in_key = name in settings.key_fields
    what = "in key_fields" if is_in_key else "not in key_fields"
    return Auxiliary(is_in_key, f"the config says auxiliary; {what}")


def _bucketized(use: Use, tensor: Tensor) -> _Evidence:
    boundaries = list(use.node.attr["boundaries"].list.f)
    if any(np.isnan(boundaries)):
        raise _Unproved(f"Bucketize ({use.node.name}) has NaN for a boundary")
    finite = sorted(set(filter(np.isfinite, boundaries)))
    if tensor.dtype in ("float16", "bfloat16"):
        # What it is fed, the nearest such number, may lie on the other side.
        raise _Unproved(f"Bucketize ({use.node.name}) takes it, as {tensor.dtype}")
    text = f"bucketized by {len(boundaries)} boundaries"
    if "float" in tensor.dtype:
        return _Evidence(text, thresholds=tuple(x + 0.0 for x in finite))
    return _Evidence(text, thresholds=tuple(_whole(finite, tensor.dtype)))


def _whole(boundaries: Iterable[float], dtype: str) -> Iterator[int]:
    """The least integers that Bucketize, which compares in float32, puts above."""
    limits = np.iinfo(dtype)
    for boundary in boundaries:
        low, high = int(limits.min), int(limits.max)
        if np.float32(low) >= boundary or np.float32(high) < boundary:
            continue  # on one side of it lies nothing
        while high - low > 1:
            middle = (low + high) // 2
            if np.float32(middle) >= boundary:
                high = middle
            else:
                low = middle
        yield high


def _collapsed(tensor: Tensor, evidence: Sequence[_Evidence]) -> Kind:
    """Return the kind that all uses together prove."""
    known = frozenset[Scalar]().union(*(e.known for e in evidence))
    thresholds = sorted({x for e in evidence for x in e.thresholds})
    proof = "; ".join(sorted({e.text for e in evidence if e.text}))
    proof = proof or "nothing takes its value"
    if thresholds and known:
        raise _Unproved("it is bucketized and compared too")
    if thresholds:
        below = _below(thresholds[0], tensor.dtype)
        return Buckets(tensor.dtype, tuple(thresholds), below, proof)
    if not known:
        zeros: dict[str, Scalar] = {"string": "", "bool": False}
        return Vocabulary(known, zeros.get(tensor.dtype, 0), proof)
    if tensor.dtype == "string":
        return Vocabulary(known, _unknown_text(known), proof)
    if "int" not in tensor.dtype:
        raise _Unproved(f"{proof}, as {tensor.dtype}")
    limits = np.iinfo(tensor.dtype)
    low, high = int(limits.min), int(limits.max)
    possible = frozenset(x for x in known if low <= x <= high)  # type: ignore[operator]  # integers
    return Vocabulary(possible, _unknown_number(possible, low, high), proof)


def _below(threshold: int | float, dtype: str) -> int | float:
    """A value less than a threshold; if there is none, it is never asked for."""
    if threshold > 0:
        return 0
    if "int" in dtype:
        return threshold - 1
    near: float = cast(threshold - 1, dtype)
    return near if near < threshold else float(tf.as_dtype(dtype).min)


def _unknown_text(known: frozenset[Scalar]) -> str:
    text = "[UNK]"
    while text in known:
        text += "_"
    return text


def _unknown_number(known: frozenset[Scalar], low: int, high: int) -> int | None:
    candidates = (-1 if low < 0 else high, *range(high, high - len(known) - 1, -1))
    return next((n for n in candidates if n not in known and n >= low), None)


def scalars(array: Any) -> frozenset[Scalar]:
    values = np.asarray(array).reshape(-1).tolist()
    return frozenset(_text(v) if isinstance(v, bytes) else v for v in values)


def _text(value: bytes) -> Scalar:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _shown(known: frozenset[Scalar]) -> str:
    return repr(next(iter(known))) if len(known) == 1 else f"{len(known)} constants"
