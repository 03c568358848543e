"""Pinned rows, their canonical rows and their keys (vectors.json): every kind, dtype
and shape. Another implementation that reproduces them finds the same answers.

In the file, bytes that are not UTF-8 are {"b64": …}, and a block {"shape", "leaves"}.
"""

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from gomlx.contract.canonical import (
    Auxiliary,
    Buckets,
    Exact,
    Kind,
    Rounded,
    Vocabulary,
)
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import ANY
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Block, Row, Tensor, Value

MODELS: list[dict[str, Any]] = orjson.loads(
    (Path(__file__).parent / "vectors.json").read_bytes()
)


def signature(model: dict[str, Any]) -> Signature:
    tensors = [
        Tensor(i["name"], i["dtype"], None if i["shape"] is None else tuple(i["shape"]))
        for i in model["inputs"]
    ]
    own = tuple(t for t in tensors if t.dtype != ANY)
    return Signature(own, (), tuple(t for t in tensors if t.dtype == ANY))


def kind(given: dict[str, Any]) -> Kind:
    dtype = given["dtype"]
    match given.get("kind", "exact"):
        case "vocabulary":
            known = (_decoded(value) for value in given["known"])
            return Vocabulary(frozenset(known), given["unknown"], "")
        case "buckets":
            return Buckets(dtype, tuple(given["thresholds"]), given["below"], "")
        case "rounded":
            return Rounded(dtype, given["precision"], "")
        case "auxiliary":
            return Auxiliary(given["is_in_key"], "")
        case _:
            return Exact(dtype, "")


def _decoded(value: Any) -> Any:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value


def dictionary(model: dict[str, Any]) -> Dictionary:
    kinds = [kind(given) for given in model["inputs"]]
    return Dictionary(model["version"], signature(model), kinds)


def row(model: dict[str, Any], body: Any) -> Row:
    (checked,) = signature(model).check(body).rows
    return checked


def text(tensors: tuple[Tensor, ...], row: Row) -> str:
    """Write a row as the file does: 1 is not 1.0 there, and 0.0 not -0.0."""
    pairs = zip(tensors, row, strict=True)
    return orjson.dumps([_plain(tensor, value) for tensor, value in pairs]).decode()


def _plain(tensor: Tensor, value: Value) -> Any:
    if isinstance(value, Block):
        leaves = [_plain(tensor, leaf) for leaf in tensor.elements(value)]
        return {"shape": value.shape, "leaves": leaves}
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m["about"])
def test_pinned_rows_have_their_canonical_rows_and_keys(model: dict[str, Any]) -> None:
    made = dictionary(model)
    rows = [row(model, pinned["question"]) for pinned in model["rows"]]
    expected = [
        (orjson.dumps(pinned["canonical"]).decode(), pinned["key"])
        for pinned in model["rows"]
    ]
    for canonical in (
        made.canonical(rows),
        [made.canonical([row])[0] for row in rows],  # not by columns
    ):
        in_batch = [key.hex() for key in made.keys(canonical)]
        alone = [made.keys([row])[0].hex() for row in canonical]
        texts = [text(made.tensors, row) for row in canonical]
        assert list(zip(texts, in_batch, strict=True)) == expected
        assert alone == in_batch


def test_every_kind_is_pinned() -> None:
    pinned = {given.get("kind", "exact") for m in MODELS for given in m["inputs"]}
    assert pinned == {"vocabulary", "buckets", "rounded", "exact", "auxiliary"}


def test_only_rows_that_collapse_share_a_pinned_key() -> None:
    keyed: dict[str, set[bytes]] = {}
    for model in MODELS:
        for pinned in model["rows"]:
            pairs = zip(model["inputs"], pinned["canonical"], strict=True)
            keyed_values = [
                (given["name"], given["dtype"], value)
                for given, value in pairs
                if given.get("is_in_key", True)
            ]
            distinct = orjson.dumps([model["version"], keyed_values])
            keyed.setdefault(pinned["key"], set()).add(distinct)
    assert len(keyed) > 60
    assert all(len(rows) == 1 for rows in keyed.values())
