"""Words of a command line or a file → values of inputs; answers → values for JSON."""

import base64
import math
from collections.abc import Sequence
from typing import Any

import orjson

from gomlx.cli.terminal import usage_error
from gomlx.client.answer import Answer
from gomlx.contract.document import Contract
from gomlx.contract.tensor import Tensor, json_excerpt
from gomlx.errors import BadResponse, InvalidInput

_BOOLS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def parse_pairs(words: Sequence[str]) -> dict[str, str]:
    """Return the names and values of words like `carrier=UA`.

    Raises typer.Exit for a word without a name or `=`, and for a name given twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name:
            raise usage_error(f"expected NAME=VALUE, got {word!r}")
        if name in pairs:
            raise usage_error(f"{name} is given twice")
        pairs[name] = text
    return pairs


def parse_bool(text: str) -> bool:
    """Return the boolean of true, t, 1, false, f or 0, in any case. Raises KeyError."""
    return _BOOLS[text.strip().lower()]


def parse_value(tensor: Tensor, text: str) -> Any:
    """Return the value that a text stands for, by its input's dtype.

    The text of a string input is the value itself; inputs of more than one element
    are written as JSON. Raises InvalidInput.
    """
    try:
        if not tensor.is_scalar:
            return orjson.loads(text)
        if tensor.dtype == "bool":
            return parse_bool(text)
        if "float" in tensor.dtype:
            return None if tensor.missing and not text.strip() else float(text)
        return _integer(text) if "int" in tensor.dtype else text
    except (ValueError, KeyError):
        reason = f"expected {tensor.expected}, got {json_excerpt(text)}"
        raise InvalidInput(reason, tensor.name) from None


def _integer(text: str) -> int | float:
    """Return an integer, or a whole float that stands for one. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        number = float(text)
        if not number.is_integer():
            raise
        return number


def answer_columns(contract: Contract) -> list[str]:
    """Return the names of an answer's columns: its outputs, or `answer` if a
    transformer makes it."""
    if contract.transforms:
        return ["answer"]
    return [tensor.name for tensor in contract.signature.answered]


def answer_values(answer: Answer, contract: Contract) -> list[Any]:
    """Return the JSON value of each of an answer's columns.

    Raises BadResponse if the answer is of a newer version that has other outputs.
    """
    if contract.transforms:
        return [to_json(dict(answer))]
    try:
        return [to_json(answer[tensor.name]) for tensor in contract.signature.answered]
    except KeyError as error:
        raise BadResponse(f"a new version of the model has no output {error}") from None


def to_json(value: Any) -> Any:
    """Return a value as the service writes it: NaN as "NaN", bytes as {"b64": …}."""
    if isinstance(value, float) and not math.isfinite(value):
        infinity = "Infinity" if value > 0 else "-Infinity"
        return "NaN" if math.isnan(value) else infinity
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    if isinstance(value, dict):
        return {name: to_json(one) for name, one in value.items()}
    return [to_json(one) for one in value] if isinstance(value, list) else value
