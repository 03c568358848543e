"""What `gomlx key` shows is what the service does, for every kind of signature."""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gomlx.contract.canonical import (
    Auxiliary,
    Buckets,
    Exact,
    Kind,
    Rounded,
    Vocabulary,
)
from gomlx.contract.dictionary import Dictionary
from gomlx.contract.dtypes import ANY, DTYPES, FLOAT_LIMITS, INT_RANGES
from gomlx.contract.explain import Explainer
from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.server.predict.parse import ParsedRequest, RequestParser, TogetherParser

VERSION = "0123456789abcdef"
MANY = 1000


@dataclass
class Model:
    """A signature, its kinds, and how values of its inputs may look."""

    tensors: list[Tensor] = field(default_factory=list)
    kinds: list[Kind] = field(default_factory=list)
    values: list[st.SearchStrategy[Any]] = field(default_factory=list)
    together: bool = False

    def explainer(self) -> Explainer:
        inputs = [one for one in self.tensors if one.dtype != ANY]
        others = [one for one in self.tensors if one.dtype == ANY]
        signature = Signature(tuple(inputs), (), tuple(others))
        dictionary = Dictionary(VERSION, signature, self.kinds)
        return Explainer(VERSION, signature, dictionary, "", self.together)

    def parse(self, text: bytes) -> ParsedRequest | Exception:
        """Do what the service does with a body."""
        found = self.explainer()
        make = TogetherParser if self.together else RequestParser
        parser = make(found.signature, found.dictionary, MANY, is_keyed=True)
        (parsed,) = parser.parse([text])
        return parsed


def elements(dtype: str, missing: str) -> st.SearchStrategy[Any]:
    """JSON values of one element."""
    if dtype == ANY:
        return (
            st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab", max_size=2)
        )
    if dtype == "bool":
        return st.booleans()
    if dtype == "string":
        packed = st.sampled_from([{"b64": "/w=="}, {"b64": "YQ=="}])
        return st.text("aé ", max_size=3) | packed
    if dtype in INT_RANGES:
        low, high = INT_RANGES[dtype]
        return st.integers(low, high) | st.sampled_from([0.0, 3, 7.0])
    limit = min(FLOAT_LIMITS[dtype], 1e30)
    numbers = st.floats(-limit, limit) | st.sampled_from(
        [0.1, 1 / 3, 16_777_217, 3, -0.0]
    )
    numbers = numbers.filter(lambda x: abs(x) <= limit)
    return numbers | st.sampled_from([None, "NaN"]) if missing else numbers


@st.composite
def kinds(draw: st.DrawFn, dtype: str) -> Kind:
    """A kind that an input of a dtype may have."""
    if dtype == ANY:
        return Auxiliary(draw(st.booleans()), "")
    possible: list[Kind] = [Exact(dtype, "")]
    if dtype == "string":
        possible.append(Vocabulary(frozenset({"a", "é"}), "[UNK]", ""))
    if dtype in INT_RANGES:
        possible.append(Vocabulary(frozenset({0, 3}), 7, ""))
    if dtype in FLOAT_LIMITS:
        possible += [Rounded(dtype, 1, ""), Rounded(dtype, 0, "")]
    if dtype in INT_RANGES or dtype in FLOAT_LIMITS:
        possible.append(Buckets(dtype, (0, 3), 0, ""))
    return draw(st.sampled_from(possible))


@st.composite
def tensors(draw: st.DrawFn, name: str) -> tuple[Tensor, st.SearchStrategy[Any]]:
    """An input of any form, and its values as a request has them."""
    dtype = draw(st.sampled_from(sorted(DTYPES)))
    missing = draw(st.sampled_from(["", "nan"])) if dtype in FLOAT_LIMITS else ""
    one = elements(dtype, missing)
    many = st.lists(one, max_size=3)
    pair = st.lists(one, min_size=2, max_size=2)
    sparse = pair.map(lambda two: {"indices": [[3], [1]], "values": two, "shape": [4]})
    forms: dict[str, tuple[Tensor, st.SearchStrategy[Any]]] = {
        "scalar": (Tensor(name, dtype, (), missing), one),
        "one": (Tensor(name, dtype, (1,), missing), one | one.map(lambda x: [x])),
        "two": (Tensor(name, dtype, (2,), missing), pair),
        "any size": (Tensor(name, dtype, (None,), missing), many),
        "any rank": (Tensor(name, dtype, None, missing), one | many),
        "ragged": (
            Tensor(name, dtype, (None, None), missing, ragged=2),
            st.lists(many, max_size=2),
        ),
        "sparse": (Tensor(name, dtype, (4,), missing, is_sparse=True), sparse),
    }
    return forms[draw(st.sampled_from(sorted(forms)))]


@st.composite
def models(draw: st.DrawFn) -> Model:
    model = Model(together=draw(st.booleans()))
    for name in "abc"[: draw(st.integers(1, 3))]:
        tensor, values = draw(tensors(name))
        if draw(st.booleans()):
            tensor = replace(tensor, default=draw(values))
        model.tensors.append(tensor)
        model.values.append(values)
        model.kinds.append(draw(kinds(tensor.dtype)))
    if draw(st.booleans()):
        model.tensors.append(Tensor("trace", ANY, ()))
        model.values.append(elements(ANY, ""))
        model.kinds.append(draw(kinds(ANY)))
    return model


@st.composite
def questions(draw: st.DrawFn) -> tuple[Model, dict[str, Any]]:
    """A model and the body of a request for one answer."""
    model = draw(models())
    optional = [one.name for one in model.tensors if one.default is not None]
    left_out = draw(st.sets(st.sampled_from(optional))) if optional else set()
    inputs = zip(model.tensors, model.values, strict=True)
    given_inputs = [(t.name, one) for t, one in inputs if t.name not in left_out]
    if not model.together or draw(st.booleans()):
        return model, {name: draw(one) for name, one in given_inputs}
    rows = draw(st.integers(1, 3))
    columns = {name: [draw(one) for _ in range(rows)] for name, one in given_inputs}
    return model, columns | {"batch_size": rows}


def rows_of(explained: dict[str, Any]) -> Sequence[dict[str, Any]]:
    rows: Sequence[dict[str, Any]] = explained.get("rows", [explained])
    return rows


def is_changed(tensor: Tensor, given: Any, canonical: Any) -> bool:
    """Whether an element of a value is another one in the canonical row.

    NaN is written in several ways, and so are bytes that are a text.
    """
    before = flat(given)
    after = flat(canonical)
    pairs = zip(before, after, strict=True)
    return any(
        a != b and "NaN" not in (a, b) and a != {"b64": "YQ=="} for a, b in pairs
    )


def flat(value: Any) -> list[Any]:
    if isinstance(value, list):
        return [leaf for part in value for leaf in flat(part)]
    if isinstance(value, dict) and "values" in value:
        pairs = zip(value["indices"], value["values"], strict=True)
        return [leaf for _, leaf in sorted(pairs, key=lambda pair: pair[0])]
    return [value]


@settings(max_examples=300, deadline=None)
@given(questions())
def test_the_key_is_the_services(asked: tuple[Model, dict[str, Any]]) -> None:
    model, body = asked
    explainer = model.explainer()
    parsed = model.parse(orjson.dumps(body))
    if isinstance(parsed, Exception):
        with pytest.raises(type(parsed), match=re.escape(str(parsed))):
            explainer.question(body)
        return
    shown = explainer.explain(explainer.question(body))
    assert [shown["key"]] == [key.hex() for key in parsed.keys]
    rows = rows_of(shown)
    for n, row in enumerate(rows):
        given_values = explainer.signature.given(body, n)
        for tensor, value in zip(explainer.signature.fields, given_values, strict=True):
            canonical = row["canonical"][tensor.name]
            changed = is_changed(tensor, value, canonical)
            assert changed == (tensor.name in row["collapsed"]), (value, canonical)


@settings(max_examples=200, deadline=None)
@given(questions())
def test_a_canonical_row_is_its_own(asked: tuple[Model, dict[str, Any]]) -> None:
    """What is shown can be sent, has the same key, and nothing of it collapses."""
    model, body = asked
    explainer = model.explainer()
    assume(isinstance(model.parse(orjson.dumps(body)), ParsedRequest))
    first = explainer.explain(explainer.question(body))
    rows = [row["canonical"] for row in rows_of(first)]
    again: dict[str, Any] = rows[0]
    if "batch_size" in body:
        again = {name: [row[name] for row in rows] for name in rows[0]}
        again["batch_size"] = len(rows)
    second = explainer.explain(explainer.question(json.loads(json.dumps(again))))
    assert second["key"] == first["key"]
    assert not any(row["collapsed"] for row in rows_of(second))


def test_a_cast_of_a_list_is_shown() -> None:
    model = Model([Tensor("x", "float32", (2,))], [Exact("float32", "")])
    explainer = model.explainer()
    shown = explainer.explain(explainer.question({"x": [0.5, 0.1]}))
    assert shown["canonical"]["x"][0] == 0.5
    assert math.isclose(shown["canonical"]["x"][1], 0.1, rel_tol=1e-6)
    assert shown["collapsed"]["x"].startswith("[0.5, 0.1] → [0.5, 0.10000000149")
    assert shown["collapsed"]["x"].endswith("(as float32 holds it)")
