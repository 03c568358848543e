"""Bodies with more names than any request are found before they are decoded."""

import json
from typing import Any

import pytest

from gomlx.contract.values.members import too_many_names

INPUTS = {f"i{n}": 1 for n in range(4)}
MOST = 6  # and batch_size, cache_key
ROW = {"indices": [[1]], "values": [1], "shape": [2]}
FINE: dict[str, Any] = {
    "all names": INPUTS | {"batch_size": 1, "cache_key": "a"},
    "values": INPUTS | {"i0": [{"b64": ""}] * 50, "i1": [ROW] * 50},
    "colons in texts": INPUTS | {"i0": ["a:b", '"c":1', '\\":', "\\"] * 50},
}
WRONG: dict[str, Any] = {
    "one name more": INPUTS | {"a": 1, "b": 1, "c": 1},
    "braces in a text": {f"k{n}": "{" * 100 for n in range(50)},
    "names that end in a backslash": {f"{n}\\": 1 for n in range(50)},
    "names with quotes": {f'{n}"': 1 for n in range(50)},
    "an object of a value": {"i0": {f"k{n}": n for n in range(50)}},
}


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("what", FINE)
def test_requests_have_few_names(what: str, indent: int | None) -> None:
    assert not too_many_names(json.dumps(FINE[what], indent=indent).encode(), MOST)


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("what", WRONG)
def test_too_many_names(what: str, indent: int | None) -> None:
    assert too_many_names(json.dumps(WRONG[what], indent=indent).encode(), MOST)


def test_blanks_before_colons_hide_nothing() -> None:
    members = ",".join(f'"k{n}" \\n:1' for n in range(50)).replace("\\n", "\n")
    assert too_many_names(f"{{{members}}}".encode(), MOST)


def test_a_text_without_an_end_is_looked_at_once() -> None:
    assert not too_many_names(b'{"a":1,"' + b'\\"' * 500_000 + b":" * 100, MOST)
