"""Bytes in JSON: {"b64": "…"}, as in TensorFlow Serving's REST API."""

import base64
import binascii
from string import ascii_letters, digits
from typing import Any

_ALPHABET = frozenset(f"{ascii_letters}{digits}+/")


def to_base64(data: bytes) -> dict[str, str]:
    """Return bytes as {"b64": "…"}."""
    return {"b64": base64.b64encode(data).decode()}


def from_base64(value: dict[str, Any]) -> bytes:
    """Return the bytes of {"b64": "…"}. Raises ValueError, which says what is wrong."""
    if value.keys() != {"b64"}:
        raise ValueError('its one key must be "b64"')
    text = value["b64"]
    if not isinstance(text, str):
        raise ValueError(f"base64 is a string, not of type {type(text).__name__}")
    try:
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(_fault(text)) from None


def _fault(text: str) -> str:
    """Return why a text is not base64."""
    data = text.rstrip("=")
    for place, character in enumerate(data):
        if character not in _ALPHABET:
            return f"character {place} is {character!r}, {_reason(character)}"
    if len(data) % 4 == 1:
        return f"{len(data)} characters without padding are one too many, or 3 too few"
    padding = len(text) - len(data)
    return f"expected {-len(data) % 4} characters '=' of padding, got {padding}"


def _reason(character: str) -> str:
    if character in "-_":
        return "of the URL-safe alphabet: the standard one has + and /"
    if character == "=":
        return "which is padding and comes last"
    return "which base64 does not have"
