"""Other ways to send a body: packed, as a line of a stream, as a query.

The outcome is that of the posted body, whatever the way.
"""

import gzip
import json
from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote

import httpx

from loadtests.fuzz.bodies.texts import Text


class Told(NamedTuple):
    """What a service says: not which row failed first. data: None of an error."""

    code: int
    data: Any


# A client, the path of a model, a body → what is told; None: it cannot be sent so.
Way = Callable[[httpx.Client, str, Text], Told | None]


def told(response: httpx.Response) -> Told:
    """Return what a response says."""
    return Told(response.status_code, response.json().get("data"))


def packed(client: httpx.Client, path: str, text: Text) -> Told | None:
    """Send it with gzip."""
    headers = {"Content-Encoding": "gzip"}
    data = gzip.compress(text.data)
    return told(client.post(f"{path}/eval", content=data, headers=headers))


def streamed(client: httpx.Client, path: str, text: Text) -> Told | None:
    """Send it as a line, if it is one: not blank, and without a line break."""
    if b"\n" in text.data or not text.data.strip():
        return None
    response = client.post(f"{path}/stream", content=text.data + b"\n")
    (line,) = response.text.splitlines()
    answer = json.loads(line)
    return Told(answer.get("code", response.status_code), answer.get("data"))


def queried(client: httpx.Client, path: str, text: Text) -> Told | None:
    """Send it as a query, if it is a row of scalars that fit the model."""
    body = json.loads(text.data) if text.is_valid else None
    if not isinstance(body, dict) or "batch_size" in body:
        return None
    if any(isinstance(value, list | dict | None) for value in body.values()):
        return None
    values = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in body.items()
    }
    pairs = [f"{quote(name)}={quote(value, safe='')}" for name, value in values.items()]
    return told(client.get(f"{path}/eval?{'&'.join(pairs)}"))


WAYS: tuple[Way, ...] = (packed, streamed, queried)
