"""The contract document: a client reads back exactly what the service wrote."""

import math
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.contract.canonical import Auxiliary, Buckets, Exact, Rounded, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.document import Contract
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor

SIGNATURE = Signature(
    (
        Tensor("words", "string", (1,)),
        Tensor("big", "uint64", ()),
        Tensor("x", "float32", ()),
        Tensor("y", "float64", (None, 3)),
        Tensor("z", "float32", ()),
    ),
    (Tensor("out", "float32", None),),
    (Tensor("who", ANY, ()),),
)
scalars = (
    st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary()
    | st.integers(-(2**63), 2**64 - 1)
)
numbers = st.floats(allow_nan=False, allow_infinity=True)


KINDS: Any = (*[Exact("float32", "")] * 5, Auxiliary(True, ""))


def contract(*kinds: Any, **changes: Any) -> Contract:
    values: dict[str, Any] = {"transforms": False, "ttl_seconds": 60.5}
    values |= {"max_rows": 7, "max_body_bytes": 1 << 20}
    return Contract("m", "0" * 32, SIGNATURE, kinds, **values | changes)


def test_the_tag_changes_with_everything_that_the_config_can_change() -> None:
    made = contract()
    assert Contract.parse(replace(made, kinds=KINDS).dump()).tag == made.tag
    assert replace(made, ttl_seconds=60).tag == replace(made, ttl_seconds=60.0).tag
    others = [
        replace(made, version="1" * 32),
        replace(made, transforms=True),
        replace(made, ttl_seconds=0.0),
        replace(made, ttl_seconds=60.25),
        replace(made, max_rows=8),
        replace(made, max_body_bytes=8),
    ]
    assert len({one.tag for one in (made, *others)}) == 7
    assert all(one.tag.startswith(one.version) for one in others)


@given(st.frozensets(scalars), scalars, st.lists(numbers, min_size=1), numbers)
def test_a_contract_reads_back_unchanged(
    known: frozenset[Any], unknown: Any, thresholds: list[float], below: float
) -> None:
    made = contract(
        Vocabulary(known, unknown, "a proof"),
        Vocabulary(frozenset({2**64 - 1, 0}), None, ""),
        Buckets("float32", tuple(sorted(thresholds)), below, ""),
        Exact("float64", ""),
        Rounded("float32", 2, ""),
        Auxiliary(True, ""),
    )
    read = Contract.parse(made.dump())
    assert read == made
    vocabulary, _, buckets, *_ = read.kinds
    assert isinstance(vocabulary, Vocabulary)
    assert {(type(v), v) for v in vocabulary.known} == {(type(v), v) for v in known}
    assert isinstance(buckets, Buckets)
    signs = [math.copysign(1, x) for x in (*buckets.thresholds, buckets.below)]
    assert signs == [math.copysign(1, x) for x in (*sorted(thresholds), below)]


def test_a_read_contract_makes_the_same_keys() -> None:
    kinds = (
        Vocabulary(frozenset({"a", b"\xff"}), "", ""),
        Vocabulary(frozenset({2**64 - 1, 2**53 + 1}), 3, ""),
        Buckets("float32", (0.10000000149011612,), -math.inf, ""),
        Exact("float64", ""),
        Rounded("float32", 1, ""),
        Auxiliary(True, ""),
    )
    read = Contract.parse(contract(*kinds).dump())
    columns = {
        "words": ["a", {"b64": "/w=="}, "other"],
        "big": [2**64 - 1, 2**53 + 1, 2**53],
        "x": [0.1, 0.1 + 1e-7, -0.0],
        "y": [[[1, 2, 3]], [], [[-0.0, 0.1, 1e300]]],
        "z": [0.25, -0.04, 7],
        "who": [None, 2**63, "\U0001f600"],
    }
    rows = SIGNATURE.check({"batch_size": 3, **columns}).rows
    (ours, theirs) = (
        Dictionary("v", c.signature, c.kinds) for c in (contract(*kinds), read)
    )
    assert theirs.canonical(rows) == ours.canonical(rows)
    assert theirs.keys(theirs.canonical(rows)) == ours.keys(ours.canonical(rows))


def document(**changes: Any) -> bytes:
    kinds = (*(Exact("float32", ""),) * 5, Auxiliary(False, ""))
    return orjson.dumps(orjson.loads(contract(*kinds).dump()) | changes)


def test_unknown_keys_are_ignored() -> None:
    assert Contract.parse(document(newer=1)) == Contract.parse(document())


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"null", b"[1]", b'{"format":1}'),
        document(format=2),
        document(kinds=[]),
        document(kinds=[{"kind": "spell"}] * 6),
        document(signature=None),
        document(max_rows="many"),
        document()[:-9],
    ],
)
def test_other_documents_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="not a contract"):
        Contract.parse(data)
