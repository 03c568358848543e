"""Hostile requests: each is within its limits, and costs as much as such a one can."""

import gzip
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from gomlx.server.body import LARGE_BYTES
from loadtests.blocking.models import HIT, TEXTS
from loadtests.fuzz.frames import frame, hpack

SMALL = LARGE_BYTES - 64  # bytes of a body that is parsed on the event loop
LARGE = (1 << 20) - 64  # of the largest that is admitted
_ROWS = 4096
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA_BYTES = 1 << 14
_LINES = 8
_SEVERAL = 4  # clients that send at once


class Hostile(NamedTuple):
    """One kind of request: what each of its connections sends, all at once.

    length: of each request's body.
    """

    name: str
    sent: Sequence[bytes]
    length: int = 0


def get(path: str, headers: str = "") -> bytes:
    """Return a GET after whose response the connection ends."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: a\r\n{headers}Connection: close\r\n\r\n".encode()
    )


def post(model: str, body: bytes, route: str = "eval", headers: str = "") -> bytes:
    """Return a POST after whose response the connection ends."""
    head = (
        f"POST /v1/api/model/{model}/{route} HTTP/1.1\r\nHost: a\r\n{headers}"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def http2_post(model: str, body: bytes) -> bytes:
    """Return a connection of HTTP/2 that asks once, within the first window."""
    path = f"/v1/api/model/{model}/eval".encode()
    fields = [
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"a"),
    ]
    parts = [body[at : at + _DATA_BYTES] for at in range(0, len(body), _DATA_BYTES)]
    data = b"".join([frame(0, 0, 1, part) for part in parts[:-1]])
    end = frame(0, 1, 1, parts[-1]) + frame(7, 0, 0, bytes(8))  # and GOAWAY
    return _PREFACE + frame(4, 0, 0) + frame(1, 4, 1, hpack(fields)) + data + end


def hostile_requests(turn: int = 0) -> Iterator[Hostile]:
    """Yield each kind; turn: rows that are to miss are others in each."""
    yield Hostile("nothing", [])
    yield from _documents()
    for size in (SMALL, LARGE):
        for name, model, body in _bodies(size):
            text = f"{name}, {size >> 10} KiB"
            yield Hostile(text, [post(model, body)], len(body))
    yield from _batches(turn)
    yield from _other_ways()


def _documents() -> Iterator[Hostile]:
    paths = [
        f"/v1/api/model/words/meta/{name}"
        for name in ("config", "dictionary", "contract")
    ]
    paths += ["/metrics", "/v1/api/metric/operations", "/readyz", "/v1/api/config"]
    for path in paths:
        yield Hostile(f"GET {path}", [get(path)])
        packed = get(path, "Accept-Encoding: gzip\r\n")
        yield Hostile(f"GET {path}, by {_SEVERAL}, gzip", [packed] * _SEVERAL)


def _bodies(size: int) -> Iterator[tuple[str, str, bytes]]:
    """Yield the name, the model and the body of requests of one row, about a size."""
    yield "many names", HIT, _object(size, lambda i: (f"k{i:x}", 1))
    yield "one name, many times", HIT, b'{"x":1' + b',"x":1' * (size // 6 - 2) + b"}"
    yield "deep lists", HIT, b'{"x":' + b"[" * (size // 2) + b"]" * (size // 2) + b"}"
    yield "lists in a list", HIT, _filled(size, b"[]", b'{"x":[', b"]}")
    yield "objects in a list", HIT, _filled(size, b'{"b64":""}', b'{"x":[', b"]}")
    yield "a text that is no number", HIT, b'{"x":"' + b"a" * size + b'"}'
    yield "escapes", "strings", b'{"x":["' + b"\\u20ac" * (size // 6) + b'"]}'
    yield "NaN at the end", HIT, _filled(size, b"1.5", b'{"x":[', b",NaN]}")
    yield "no JSON at the end", HIT, _filled(size, b"[]", b'{"x":[', b",}")
    yield "floats of a row", "floats", _filled(size, b"1.5", b'{"x":[', b"]}")
    yield "one digit each", "floats", _filled(size, b"1", b'{"x":[', b"]}")
    yield "floats for integers", "ints", _filled(size, b"1.0", b'{"x":[', b"]}")
    yield "spaces", "floats", b'{"x":[' + b" " * size + b"1.5]}"
    yield "texts of a row", "strings", _filled(size, b'"a"', b'{"x":[', b"]}")
    yield "base64", "strings", _filled(size, b'{"b64":"/w=="}', b'{"x":[', b"]}")
    yield "ragged lists", "ragged", _filled(size, b"[1]", b'{"x":[', b"]}")
    yield "empty ragged lists", "ragged", _filled(size, b"[]", b'{"x":[', b"]}")
    yield "sparse indices", "sparse", _sparse(size)


def _batches(turn: int) -> Iterator[Hostile]:
    first = (turn + 1) * _ROWS
    new = {"x": list(range(first, first + _ROWS)), "batch_size": _ROWS}
    most = {name: ["a" * 409] for name in TEXTS} | {"batch_size": _ROWS}
    broadcast = {name: ["a" * 4000] for name in TEXTS} | {"batch_size": _ROWS}
    rows = {"x": list(range(_ROWS)), "batch_size": _ROWS}
    short = {name: ["a"] * _ROWS for name in TEXTS} | {"batch_size": _ROWS}
    bodies = {
        "ten texts for all rows": ("texts", broadcast),
        "ten texts for all rows, within 16 MiB": ("texts", most),
        "rows that miss": (HIT, new),
        "rows that hit": (HIT, rows),
        "rows of ten texts": ("texts", short),
        "one word for all rows": ("words", {"word": ["a"], "batch_size": _ROWS}),
        "one row's list for all": ("floats", {"x": [[1.5]], "batch_size": _ROWS}),
        "rows of lists": ("floats", {"x": [[1.5]] * _ROWS, "batch_size": _ROWS}),
        "rows of texts": ("strings", {"x": [["a"]] * _ROWS, "batch_size": _ROWS}),
        "rows of ragged lists": ("ragged", {"x": [[[1]]] * _ROWS, "batch_size": _ROWS}),
        "rows of sparse tensors": ("sparse", _sparse_rows()),
    }
    for name, (model, columns) in bodies.items():
        body = _json(columns)
        yield Hostile(name, [post(model, body)], len(body))


def _other_ways() -> Iterator[Hostile]:
    names = _object(SMALL, lambda i: (f"k{i:x}", 1))
    floats = _filled(SMALL, b"1", b'{"x":[', b"]}")
    for name, model, body in (("names", HIT, names), ("floats", "floats", floats)):
        size = len(body)
        one = post(model, body)
        packed = post(model, gzip.compress(body), headers="Content-Encoding: gzip\r\n")
        lines = (body + b"\n") * _LINES
        yield Hostile(f"{name}, by {_SEVERAL}", [one] * _SEVERAL, size)
        yield Hostile(f"{name}, gzip", [packed], size)
        yield Hostile(f"{name}, HTTP/2", [http2_post(model, body)], size)
        yield Hostile(f"{name}, {_LINES} lines", [post(model, lines, "stream")], size)
    query = "&".join([f"k{i:x}=1" for i in range(1900)])
    yield Hostile("query of many names", [get(f"/v1/api/model/{HIT}/eval?{query}")])


def _filled(size: int, element: bytes, start: bytes, end: bytes) -> bytes:
    """Return a body with a list of as many elements as fit."""
    count = (size - len(start) - len(end)) // (len(element) + 1)
    return start + b",".join([element] * count) + end


def _object(size: int, member: Any) -> bytes:
    """Return an object with as many members as fit."""
    found = {}
    length = 2
    for i in range(size):
        name, value = member(i)
        length += len(name) + 5
        if length > size:
            break
        found[name] = value
    return _json(found)


def _sparse(size: int) -> bytes:
    count = size // 16
    indices = [[i] for i in range(count, 0, -1)]
    return _json({"x": {"indices": indices, "values": [1] * count}})


def _sparse_rows() -> dict[str, Any]:
    row = {"indices": [[2], [1]], "values": [1, 1]}
    return {"x": [row] * _ROWS, "batch_size": _ROWS}


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
