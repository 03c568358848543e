"""Streams of requests, each of them right, or malformed in some way."""

import random

EVAL = b"/v1/api/model/m/eval"
_METHODS = [b"GET", b"POST", b"PUT", b"get", b"G@T"]
_TARGETS = [
    EVAL,
    EVAL + b"?x=3",
    EVAL + b"/",
    b"/v1/api/model/m/%65val",
    b"http://h" + EVAL,
    EVAL + b"?x=\x80",
    EVAL + b"?x=3#x",
    EVAL + b"?x=%zz",
    EVAL + b"?x=\x7f",
    b"/livez",
    b"/v1/api/model/n/eval",
    b"//v1/api/model/m/eval",
    b"*",
    b"/\x80",
]
_VERSIONS = [b"HTTP/1.1", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b""]
_HOSTS = [b"host:", b"host: a b", b"Host: [::1]:8", b"host: \xff"]
_HEADERS = [
    b"content-length: 7",
    b"Content-Length: 8",
    b"content-length: 0",
    b"x: y",
    b"content-length: +7",
    b"content-length: -7",
    b"content-length: 0x7",
    b"content-length: 7, 7",
    b"content-length: 99999999999999999999999",
    b"content-length:",
    b"content-length: 7 7",
    b"content-length: 1000",
    b"transfer-encoding: chunked",
    b"transfer-encoding: identity",
    b"transfer-encoding: chunked, chunked",
    b"Transfer-Encoding : chunked",
    b"transfer-encoding:\x0bchunked",
    b"expect: 100-continue",
    b"expect: magic",
    b"connection: close",
    b"connection: keep-alive",
    b"connection: upgrade",
    b"upgrade: websocket",
    b"host: other",
    b" folded",
    b"x: a\x00b",
    b"x: a\nb: c",
    b"x: a\rb",
    b"\xff: y",
    b"x y: z",
    b": empty",
    b"no colon",
    b"x: " + b"y" * 300,
    b"request-timeout-ms: 20000",
    b"request-timeout-ms: 0",
    b"content-encoding: gzip",
    b"content-type: text/plain",
]
_RIGHT_BODIES = [b'{"x":1}', b'{"x":2}']
_BODIES = [
    *_RIGHT_BODIES,
    b"{",
    b"",
    b'7\r\n{"x":1}\r\n0\r\n\r\n',
    b"0\r\n\r\n",
    b'7;ext\r\n{"x":1}\r\n0\r\ntrailer: 1\r\n\r\n',
    b"\r\n",
    b"x" * 20,
    b"+7\r\n",
]
_INSERTED = [b"", b"\x00", b" ", b"\n", b"\r\n", b":", b"\xff"]


def stream(rng: random.Random) -> bytes:
    """Return one to four requests for a model `m` of one input, x."""
    return b"".join(_request(rng) for _ in range(rng.randint(1, 4)))


def _request(rng: random.Random) -> bytes:
    body = rng.choice(_RIGHT_BODIES)
    right = [b"host: h", b"content-length: %d" % len(body)]
    line = b"POST %b HTTP/1.1" % EVAL
    if rng.random() < 0.4:
        return b"\r\n".join([line, *right, b"", body])
    if rng.random() < 0.3:
        body = rng.choice(_BODIES)
    if rng.random() < 0.3:
        target = rng.choice(_TARGETS)
        method = rng.choice(_METHODS)
        line = b" ".join((method, target, rng.choice(_VERSIONS)))
    headers = right[: rng.choice((2, 2, 2, 1, 0))]
    if headers and rng.random() < 0.1:
        headers[0] = rng.choice(_HOSTS)
    headers += rng.choices(_HEADERS, k=rng.choice((0, 1, 1, 2, 3)))
    rng.shuffle(headers)
    end = rng.choice((b"\r\n",) * 8 + (b"\n", b"\r"))
    request = end.join([line, *headers, b"", body])
    return _damaged(request, rng) if rng.random() < 0.15 else request


def _damaged(request: bytes, rng: random.Random) -> bytes:
    """Insert bytes at a random place, and drop up to two."""
    at = rng.randrange(len(request))
    inserted = rng.choice(_INSERTED)
    return request[:at] + inserted + request[at + rng.randint(0, 2) :]
