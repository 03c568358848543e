"""What a request asks: decoded, not yet checked against the signature's rows."""

import json
from typing import Any
from urllib.parse import parse_qsl

import orjson

from gomlx.contract.signature import Signature
from gomlx.errors import InvalidInput


def decoded(body: bytes, signature: Signature, max_rows: int) -> Any:
    """Decode a JSON body. Raises InvalidInput."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        _find_non_numbers(body, signature, max_rows)
        raise InvalidInput(f"malformed JSON: {error}") from None


def _find_non_numbers(body: bytes, signature: Signature, max_rows: int) -> None:
    """Raise an error that names the input, if NaN or Infinity is what is wrong.

    Python's own parser admits them, and the signature then tells where they are.
    """
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        return
    signature.question(asked, max_rows)


def parsed(query: str, signature: Signature, _: int) -> Any:
    """Parse a query string. Raises InvalidInput."""
    try:
        pairs = parse_qsl(query, True, True, errors="strict", max_num_fields=10_000)
    except ValueError as error:
        raise InvalidInput(f"malformed query: {error}") from None
    return signature.parse(pairs)
