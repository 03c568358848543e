"""The kind of each input: which values the graph does not distinguish, with proof.

An input's elements are followed to the consumers that compute with them. If each of
these provably gives the same for many values, so does the model. An input for which
that is not proved is `exact`, and its proof names the obstacle.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import tensor_util

from gomlx.contract.canonical import (
    Buckets,
    Exact,
    Kind,
    Vocabulary,
    cast,
)
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Scalar, Tensor
from gomlx.models.dataflow.elements import SHAPE_ONLY, scalars
from gomlx.models.dataflow.flow import Flow
from gomlx.models.dataflow.frames import Use
from gomlx.models.staging.check import auxiliary_kind, configured_kind
from gomlx.models.version import Settings

_HASHES = ("StringToHashBucketFast", "StringToHashBucketStrong", "StringToHashBucket")
# These give one default for every key that they do not hold. A dense table does not:
# it fails for two of its keys.
_TABLES = ("HashTableV2", "MutableHashTableV2", "MutableHashTableOfTensorsV2")


class _Unproved(Exception):
    """A consumer may distinguish any two values."""


@dataclass(frozen=True)
class _Evidence:
    """What one consumer distinguishes, or several together.

    known: single values, from all others; thresholds: values below one from those
    above. text describes it for people.
    """

    text: str
    known: frozenset[Scalar] = frozenset()
    thresholds: tuple[int | float, ...] = ()


class Walk:
    """The search for proofs in one loaded model."""

    def __init__(self, session: Any, flow: Flow, may_vary: bool) -> None:
        self._session = session
        self._flow = flow
        self._may_vary = may_vary
        self._contents: dict[str, frozenset[Scalar]] = {}

    def kinds(
        self, signature: Signature, feeds: Sequence[str], settings: Settings
    ) -> list[Kind]:
        """Return the kind of every field of a row. Raises StageFailed."""
        with self._session.graph.as_default():
            found = [
                configured_kind(tensor, settings) or self.kind(tensor, feed)
                for tensor, feed in zip(signature.inputs, feeds, strict=True)
            ]
        return found + [auxiliary_kind(t.name, settings) for t in signature.auxiliaries]

    def kind(self, tensor: Tensor, feed: str) -> Kind:
        """Return the kind of an input that the graph proves."""
        if self._may_vary:
            return Exact(tensor.dtype, "the same row may get different answers")
        ends = self._flow.ends(feed)
        if ends.is_fetched:
            return Exact(tensor.dtype, "it is an output itself")
        try:
            return _proved(tensor, [self._evidence(use, tensor) for use in ends.uses])
        except _Unproved as reason:
            return Exact(tensor.dtype, str(reason))

    def distinguished(self, tensor: Tensor, feed: str) -> frozenset[Scalar]:
        """Return the values that some consumer treats in a way of their own.

        They are worth trying, even if another consumer distinguishes all values.
        """
        found: set[Scalar] = set()
        with self._session.graph.as_default():
            for use in self._flow.ends(feed).uses:
                with suppress(_Unproved):
                    evidence = self._evidence(use, tensor)
                    found.update(evidence.known, evidence.thresholds)
        return frozenset(found)

    def _evidence(self, use: Use, tensor: Tensor) -> _Evidence:
        op = use.node.op
        if _ignores(use):
            return _Evidence("")
        if op == "LookupTableFindV2" and use.slot == 1:
            return self._looked_up(use)
        if op in ("Equal", "NotEqual"):
            return self._compared(use)
        if op == "Bucketize":
            return _bucketized(use, tensor)
        raise _Unproved(f"{use.label} takes its value")

    def _looked_up(self, use: Use) -> _Evidence:
        place = self._flow.source(use.input(0))
        node = self._flow.node(place)
        if place.frame.caller or node is None or node.op not in _TABLES:
            made = node.op if node is not None else "a caller"
            raise _Unproved(f"it is looked up in an unsupported kind of table ({made})")
        known = self._table(node.name)
        return _Evidence(f"looked up in {node.name} ({len(known)} values)", known)

    def _table(self, name: str) -> frozenset[Scalar]:
        """Return the keys that a table holds once the model is loaded."""
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
        """Equality with a constant distinguishes each of its elements from all else."""
        node = self._flow.node(self._flow.source(use.input(1 - use.slot)))
        if node is None or node.op != "Const":
            raise _Unproved(f"{use.label} compares it with no constant")
        known = scalars(tensor_util.MakeNdarray(node.attr["value"].tensor))
        return _Evidence(f"compared with {_shown(known)}", known)


def _ignores(use: Use) -> bool:
    """True if a consumer gives the same for all values."""
    op = use.node.op
    if op in _HASHES:
        return bool(use.node.attr["num_buckets"].i == 1)
    is_error_text = op == "Assert" and use.slot > 0
    return is_error_text or op in SHAPE_ONLY


def _bucketized(use: Use, tensor: Tensor) -> _Evidence:
    boundaries = list(use.node.attr["boundaries"].list.f)
    if any(np.isnan(boundaries)):
        raise _Unproved(f"{use.label} has NaN for a boundary")
    finite = sorted(set(filter(np.isfinite, boundaries)))
    if tensor.dtype in ("float16", "bfloat16"):
        # The model is fed the nearest number of that dtype. It may lie on the other
        # side of the boundary.
        raise _Unproved(f"{use.label} takes it, as {tensor.dtype}")
    text = f"bucketized by {len(boundaries)} boundaries"
    if "float" in tensor.dtype:
        return _Evidence(text, thresholds=tuple(x + 0.0 for x in finite))
    return _Evidence(text, thresholds=tuple(_whole(finite, tensor.dtype)))


def _whole(boundaries: Iterable[float], dtype: str) -> Iterator[int]:
    """Yield for each boundary the least integer that Bucketize puts above it.

    Bucketize compares in float32. A boundary beyond all integers of the dtype has none.
    """
    limits = np.iinfo(dtype)
    for boundary in boundaries:
        low = int(limits.min)
        high = int(limits.max)
        if np.float32(low) >= boundary or np.float32(high) < boundary:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            if np.float32(middle) >= boundary:
                high = middle
            else:
                low = middle
        yield high


def _proved(tensor: Tensor, evidence: Sequence[_Evidence]) -> Kind:
    """Return the kind that all consumers together prove. Raises _Unproved."""
    found = _merged(evidence)
    if found.thresholds and found.known:
        raise _Unproved("it is bucketized and compared too")
    if found.thresholds:
        below = _below(found.thresholds[0], tensor.dtype)
        return Buckets(tensor.dtype, found.thresholds, below, found.text)
    if not found.known:
        zeros: dict[str, Scalar] = {"string": "", "bool": False}
        zero = zeros.get(tensor.dtype, 0)
        return Vocabulary(found.known, zero, found.text)
    return _vocabulary(tensor, found)


def _merged(evidence: Sequence[_Evidence]) -> _Evidence:
    known = frozenset[Scalar]().union(*(e.known for e in evidence))
    thresholds = sorted({x for e in evidence for x in e.thresholds})
    text = "; ".join(sorted({e.text for e in evidence if e.text}))
    return _Evidence(text or "nothing takes its value", known, tuple(thresholds))


def _vocabulary(tensor: Tensor, found: _Evidence) -> Vocabulary:
    """Return the kind of an input of which single values are known."""
    if tensor.dtype == "string":
        return Vocabulary(found.known, _unknown_text(found.known), found.text)
    if "int" not in tensor.dtype:
        raise _Unproved(f"{found.text}, as {tensor.dtype}")
    limits = np.iinfo(tensor.dtype)
    low = int(limits.min)
    high = int(limits.max)
    possible = frozenset(x for x in found.known if low <= x <= high)  # type: ignore[operator]  # integers
    return Vocabulary(possible, _unknown_number(possible, low, high), found.text)


def _below(threshold: int | float, dtype: str) -> int | float:
    """Return a value below a threshold. If there is none, no row will need it."""
    if threshold > 0:
        return 0
    if "int" in dtype:
        return threshold - 1
    near: float = cast(threshold - 1, dtype)
    return near if near < threshold else float(tf.as_dtype(dtype).min)


def _unknown_text(known: frozenset[Scalar]) -> str:
    """Return a text that stands for all that are not known."""
    text = "[UNK]"
    while text in known:
        text += "_"
    return text


def _unknown_number(known: frozenset[Scalar], low: int, high: int) -> int | None:
    """Return a number that stands for all that are not known; None if all are."""
    candidates = (-1 if low < 0 else high, *range(high, high - len(known) - 1, -1))
    return next((n for n in candidates if n not in known and n >= low), None)


def _shown(known: frozenset[Scalar]) -> str:
    return repr(next(iter(known))) if len(known) == 1 else f"{len(known)} constants"
