"""Blocks are contiguous memory, and their keys those of their elements one by one."""

import json
import math
import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gomlx.contract.canonical import Buckets, Exact, Kind, Rounded, Vocabulary
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import DTYPES, FLOAT_LIMITS, INT_RANGES, STRUCT_CODES, bounds
from gomlx.contract.key import KeyMaker
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.contract.values import packing
from gomlx.contract.values.packing import pack, pack_plain
from gomlx.errors import InvalidInput

VERSION = "0123456789abcdef0123456789abcdef"
WIDTHS = {"float16": 16, "bfloat16": 32, "float32": 32, "float64": 64}
relaxed = settings(deadline=None)


def numbers(dtype: str) -> st.SearchStrategy[Any]:
    """The values that an input of a dtype may be given in JSON."""
    if dtype == "string":
        return st.text(max_size=4)
    if dtype == "bool":
        return st.booleans()
    low, high = bounds(dtype) or (0, 0)
    if dtype in INT_RANGES:
        return st.integers(int(low), int(high))
    return st.floats(low, high) | st.integers(-(2**53), 2**53).filter(
        lambda n: low <= n <= high
    )


@st.composite
def nested(draw: st.DrawFn, dtype: str) -> Any:
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    leaves = [draw(numbers(dtype)) for _ in range(math.prod(shape))]

    def build(shape: list[int], leaves: Iterator[Any]) -> Any:
        if not shape:
            return next(leaves)
        return [build(shape[1:], leaves) for _ in range(shape[0])]

    return build(shape, iter(leaves))


def key_of_elements(dtype: str, value: Any) -> bytes:
    """The key of a row of one block, encoded element by element: format 2."""
    shape: list[int] = []
    leaves = [value]
    while leaves and isinstance(leaves[0], list):
        shape.append(len(leaves[0]))
        leaves = [element for leaf in leaves for element in leaf]
    tail = struct.pack("<I", len(shape)) + b"".join(
        struct.pack("<I", size) for size in shape
    )
    if dtype == "string":
        texts = [leaf.encode() for leaf in leaves]
        tail += b"".join(struct.pack("<I", len(text)) for text in texts)
        tail += b"".join(texts)
    else:
        tail += b"".join(struct.pack(f"<{STRUCT_CODES[dtype]}", x) for x in leaves)
    seed = blake2b(b"gomlx key 2\n", digest_size=16)
    for part in (VERSION, "x", dtype):
        seed.update(struct.pack("<I", len(part)) + part.encode())
    encoded = seed.digest() + struct.pack("<I", len(tail)) + tail
    return blake2b(encoded, digest_size=16).digest()


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@given(st.data())
@relaxed
def test_a_block_has_the_key_of_its_elements(dtype: str, data: st.DataObject) -> None:
    value = data.draw(nested(dtype))
    signature = Signature((Tensor("x", dtype, None),), ())
    as_sent = json.loads(json.dumps({"x": value}))
    (row,) = signature.check(as_sent).rows
    made = Dictionary(VERSION, signature, [Exact(dtype, "")])
    expected = key_of_elements(dtype, value)
    assert made.keys(made.canonical([row])) == [expected]
    assert made.keys(made.canonical([row, row])) == [expected] * 2
    assert KeyMaker(VERSION, signature).key(row) == expected


KINDS: list[Kind] = [
    Exact("float32", ""),
    Rounded("float32", 2, ""),
    Rounded("bfloat16", 1, ""),
    Rounded("float64", 3, ""),
    Buckets("float32", (0.0, 1.5), -1.0, ""),
    Buckets("int64", (0, 3), -1, ""),
    Vocabulary(frozenset({1, 5}), -1, ""),
    Vocabulary(frozenset({"a", ""}), "[UNK]", ""),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k.kind}")
@given(st.data())
@relaxed
def test_a_block_collapses_as_its_elements_do(kind: Kind, data: st.DataObject) -> None:
    dtype = getattr(kind, "dtype", "string")
    if isinstance(kind, Vocabulary):
        dtype = "string" if "a" in kind.known else "int64"
    values = data.draw(st.lists(numbers(dtype), max_size=6))
    tensor = Tensor("x", dtype, (None,))
    scalar = Tensor("x", dtype, ())
    of_blocks = Dictionary(VERSION, Signature((tensor,), ()), [kind])
    of_scalars = Dictionary(VERSION, Signature((scalar,), ()), [kind])
    (row,) = Signature((tensor,), ()).check({"x": values}).rows
    ((block,),) = of_blocks.canonical([row])
    alone = [of_scalars.canonical_row((value,))[0] for value in values]
    assert block == tensor.block((len(values),), alone)
    assert of_blocks.canonical([row, row]) == [(block,)] * 2


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@given(st.data())
@relaxed
def test_what_is_packed_is_unpacked(dtype: str, data: st.DataObject) -> None:
    values = data.draw(st.lists(numbers(dtype), max_size=5))
    elements = packing.pack_plain(values, dtype)
    assert elements is not None
    assert elements == packing.pack(values, dtype)
    unpacked = packing.unpack(elements, dtype)
    assert packing.pack(unpacked, dtype) == elements
    if dtype not in FLOAT_LIMITS:
        assert unpacked == tuple(values)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
@pytest.mark.parametrize(
    "wrong",
    [None, [1], b"a", math.nan, math.inf, -math.inf, 2**64, -(2**63) - 1, 10**400],
    ids=str,
)
def test_one_element_that_is_not_plain_is_found(dtype: str, wrong: Any) -> None:
    if dtype in FLOAT_LIMITS and isinstance(wrong, int) and dtype != "float16":
        wrong = 10**400
    zero = {"string": "", "bool": False}.get(dtype, 0)
    for values in ([zero, wrong], [wrong, zero], [wrong]):
        assert packing.pack_plain(values, dtype) is None
        signature = Signature((Tensor("x", dtype, (None,)),), ())
        with pytest.raises(InvalidInput, match="'x'"):
            signature.check({"x": values})


@pytest.mark.parametrize("dtype", FLOAT_LIMITS)
def test_a_block_and_a_scalar_have_the_same_limits(dtype: str) -> None:
    limit = FLOAT_LIMITS[dtype]
    assert packing.pack_plain([limit, -limit], dtype) is not None
    assert packing.pack_plain([limit] * 3, dtype) is not None  # the sum is infinite
    if dtype != "float64":
        assert packing.pack_plain([math.nextafter(limit, math.inf)], dtype) is None
        (held,) = packing.unpack(packing.pack([limit], dtype), dtype)
        assert math.isfinite(held)


@given(st.lists(st.integers(0, 3), max_size=4))
@relaxed
def test_elements_nest_as_their_shape_says(shape: list[int]) -> None:
    tensor = Tensor("x", "int64", None)
    block = tensor.block(tuple(shape), range(math.prod(shape)))
    value = tensor.nested(block)
    sizes = []
    while isinstance(value, list):
        sizes.append(len(value))
        value = value[0] if value else None
    assert sizes == shape[: shape.index(0) + 1 if 0 in shape else None]
    if 0 not in shape:
        body = {"x": tensor.nested(block)}
        assert Signature((tensor,), ()).check(body).rows == [(block,)]


@pytest.mark.parametrize("count", [16384, 16385, 50_000])
def test_many_values_are_packed_as_few_are(count: int) -> None:
    values = [n % 251 for n in range(count)]
    assert pack(values, "uint8") == bytes(values)
    assert pack_plain(values, "uint8") == bytes(values)
    assert pack_plain([*values, -1], "uint8") is None
    assert pack_plain([*values, "1"], "uint8") is None
    texts = list(map(str, values))
    assert pack_plain(texts, "string") == tuple(texts)
