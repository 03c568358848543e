"""Rows as they were sent, one line each, with what the config allows."""

import json
from collections.abc import Collection
from typing import Any

from gomlx.contract.signature import Signature
from gomlx.contract.tensor import Tensor
from gomlx.server.logs.rows import AnsweredRequest, VersionFacts, row_lines
from gomlx.server.predict.parse import ParsedRequest

SIGNATURE = Signature(
    (Tensor("s", "string", ()), Tensor("v", "float32", (2,))),
    (Tensor("y", "float32", ()), Tensor("z", "int64", ())),
)
ANSWERS = (b'{"y":0.5,"z":1}', b'{"y":1.5,"z":2}')


def lines(
    body: Any,
    places: Collection[int] = (0,),
    fields: Collection[str] | None = None,
    together: bool = False,
) -> list[dict[str, Any]]:
    text = body if isinstance(body, str) else json.dumps(body).encode()
    parsed = ParsedRequest([], [b"\x01" * 16, b"\x02" * 16], "batch_size" in body)
    answers = (b"[%b]" % b",".join(ANSWERS),) if together else ANSWERS
    facts = VersionFacts("m", "abc", SIGNATURE, together)
    request = AnsweredRequest(facts, text, parsed, answers, "gomlx; hit; detail=L1")
    return [json.loads(one) for one in row_lines(request, [*places], 0.0, fields)]


def test_a_row() -> None:
    assert lines({"s": "é", "v": [1, 2.5], "cache_key": "k"}) == [
        {
            "time": "1970-01-01T00:00:00.000000Z",
            "logger": "rows",
            "model": "m",
            "version": "abc",
            "key": "01" * 16,
            "cache": "hit",
            "tier": "L1",
            "row": {"s": "é", "v": [1, 2.5]},
            "answer": {"y": 0.5, "z": 1},
        }
    ]


def test_rows_of_a_batch() -> None:
    """A list of one value stands for all rows."""
    body = {"batch_size": 2, "s": ["a"], "v": [[1, 2], [3, 4]]}
    found = lines(body, places=(0, 1))
    assert [one["row"] for one in found] == [
        {"s": "a", "v": [1, 2]},
        {"s": "a", "v": [3, 4]},
    ]
    assert [one["key"] for one in found] == ["01" * 16, "02" * 16]
    assert [one["answer"]["z"] for one in found] == [1, 2]
    assert [one["answer"]["z"] for one in lines(body, places=(1,))] == [2]


def test_a_query() -> None:
    """Its values have the dtypes of the inputs."""
    signature_of_s = "s=a%20b"
    assert lines(signature_of_s)[0]["row"] == {"s": "a b"}


def test_only_what_is_allowed() -> None:
    (found,) = lines({"s": "secret", "v": [1, 2]}, fields={"v", "z"})
    assert found["row"] == {"v": [1, 2]}
    assert found["answer"] == {"z": 1}
    (found,) = lines({"s": "secret", "v": [1, 2]}, fields=())
    assert found["row"] == {}
    assert found["answer"] == {}
    assert found["key"]


def test_rows_that_are_answered_together_are_one_line() -> None:
    body = {"batch_size": 2, "s": ["a", "b"], "v": [[1, 2], [3, 4]]}
    (found,) = lines(body, fields={"s", "y"}, together=True)
    assert found["row"] == {"batch_size": 2, "s": ["a", "b"]}
    assert found["answer"] == [{"y": 0.5}, {"y": 1.5}]
