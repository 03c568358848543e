"""Words of the command line → values; values → JSON."""

import math
from typing import Any

import pytest
import typer

from gomlx.cli.client_options import client_options, host_urls
from gomlx.cli.values import parse_pairs, parse_value, to_json
from gomlx.client.options import Options
from gomlx.contract.tensor import Tensor
from gomlx.errors import InvalidInput


def test_pairs_are_split_at_the_first_equals_sign() -> None:
    assert parse_pairs(["a=1", "b=", "c=x=y"]) == {"a": "1", "b": "", "c": "x=y"}


@pytest.mark.parametrize("words", [["a"], ["=1"], ["a=1", "a=2"]])
def test_other_words_are_a_usage_error(words: list[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        parse_pairs(words)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("dtype", "shape", "text", "value"),
    [
        ("string", (), " 1 ", " 1 "),
        ("int32", (1,), "-7", -7),
        ("float32", (), "1e3", 1000.0),
        ("bool", (), "T", True),
        ("bool", (), " false ", False),
        ("float32", (2,), "[1, 2.5]", [1, 2.5]),
        ("string", None, '["a"]', ["a"]),
    ],
)
def test_a_text_is_read_by_the_dtype(
    dtype: str, shape: Any, text: str, value: Any
) -> None:
    found = parse_value(Tensor("x", dtype, shape), text)
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("dtype", "shape", "text"),
    [
        ("int32", (), "1.5"),
        ("float32", (), "x"),
        ("bool", (), "2"),
        ("int8", (2,), "["),
    ],
)
def test_other_texts_are_invalid(dtype: str, shape: Any, text: str) -> None:
    with pytest.raises(InvalidInput, match="input 'x': expected"):
        parse_value(Tensor("x", dtype, shape), text)


def test_values_become_json_as_the_service_writes_it() -> None:
    value = {"a": [math.nan, math.inf, -math.inf, 1.5], "b": b"\xff", "c": "x"}
    assert to_json(value) == {
        "a": ["NaN", "Infinity", "-Infinity", 1.5],
        "b": {"b64": "/w=="},
        "c": "x",
    }


def test_options_have_the_types_of_their_fields() -> None:
    words = ["http2=true", "max_entries=7", "ttl_seconds=0.5", "ca_file=a.pem"]
    assert client_options(words, timeout_seconds=9.0) == Options(
        http2=True, max_entries=7, ttl_seconds=0.5, ca_file="a.pem", timeout_seconds=9.0
    )


@pytest.mark.parametrize("word", ["x=1", "http2=maybe", "max_entries=1.5", "hedge="])
def test_other_options_are_a_usage_error(word: str) -> None:
    with pytest.raises(typer.Exit) as caught:
        client_options([word])
    assert caught.value.exit_code == 2


def test_hosts_are_separated_by_commas() -> None:
    assert host_urls("http://a:1, http://b:2,") == ["http://a:1", "http://b:2"]
    for wrong in ("", " , ", "ftp://a"):
        with pytest.raises(typer.Exit):
            host_urls(wrong)
