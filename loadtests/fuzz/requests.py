"""Random requests that HTTP/1.1 and HTTP/2 can both say."""

import gzip
import random
from dataclasses import dataclass

from loadtests.fuzz.malformed import EVAL

_MODEL = b"/v1/api/model/m"
_METHODS = [*[b"GET", b"POST"] * 5, b"PUT", b"DELETE", b"PATCH", b"OPTIONS", b"HEAD"]
_TARGETS = [
    *[EVAL, EVAL + b"?x=3"] * 4,
    EVAL + b"?",
    EVAL + b"?x=3&x=4",
    EVAL + b"?x=3&y=4",
    EVAL + b"?x=%zz",
    EVAL + b"?x=%33",
    EVAL + b"?x=three",
    EVAL + b"?x=\xc3\xa9",
    EVAL + b"?signature=other",
    EVAL + b"/",
    _MODEL + b"/%65val",
    _MODEL + b":other/eval",
    _MODEL + b"/stream",
    _MODEL + b"/meta/contract",
    _MODEL + b"/meta/dictionary",
    _MODEL + b"/meta",
    b"/v1/api/model/n/eval?x=3",
    b"//v1/api/model/m/eval",
    b"/livez",
    b"/nowhere",
    b"/",
]
_HEADERS = [
    (b"content-type", b"application/json"),
    (b"content-type", b"text/plain"),
    (b"content-type", b""),
    (b"content-encoding", b"gzip"),
    (b"content-encoding", b"br"),
    (b"content-encoding", b"identity"),
    (b"request-timeout-ms", b"20000"),
    (b"request-timeout-ms", b"soon"),
    (b"request-timeout-ms", b"-1"),
    (b"request-timeout-ms", b""),
    (b"accept", b"text/html"),
    (b"accept-encoding", b"gzip"),
    (b"cookie", b"a=b"),
    (b"expect", b"100-continue"),
    (b"if-none-match", b"*"),
    (b"if-none-match", b'"none"'),
    (b"origin", b"https://a.example"),
    (b"range", b"bytes=0-1"),
    (b"user-agent", b"fuzz"),
    (b"x-long", b"y" * 2000),
]
_RIGHT = b'{"x":3}'
_BODIES = [
    *[_RIGHT] * 6,
    b'{"x":3}\n{"x":4}\n{"x":',
    b'{"batch_size":2,"x":[3,4]}',
    b'{"batch_size":2,"x":[3]}',
    b'{"x":[[3]]}',
    b'{"x":"three"}',
    b'{"y":3}',
    b'{"x":3',
    b"[]",
    b"",
    gzip.compress(_RIGHT, mtime=0),
    gzip.compress(_RIGHT, mtime=0)[:-3],
    _RIGHT.ljust(1024),
    _RIGHT.ljust(1025),
    b"\xff" * 9,
]


@dataclass(frozen=True)
class AnyRequest:
    """One request. headers: without those of its length; body: None has none."""

    method: bytes
    target: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes | None
    has_length: bool

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The pseudo-headers and headers of HTTP/2."""
        fields = [
            (b":method", self.method),
            (b":scheme", b"http"),
            (b":authority", b"h"),
            (b":path", self.target),
            *self.headers,
        ]
        if self.body is not None and self.has_length:
            fields.append((b"content-length", b"%d" % len(self.body)))
        return fields

    @property
    def text(self) -> bytes:
        """The bytes of HTTP/1.1; a body without a length is one chunk."""
        lines = [b"%b %b HTTP/1.1" % (self.method, self.target), b"host: h"]
        lines += [b"%b: %b" % header for header in self.headers]
        body = self.body or b""
        if self.body is not None and self.has_length:
            lines.append(b"content-length: %d" % len(body))
        elif self.body is not None:
            lines.append(b"transfer-encoding: chunked")
            chunk = b"%x\r\n%b\r\n" % (len(body), body) if body else b""
            body = chunk + b"0\r\n\r\n"
        return b"\r\n".join([*lines, b"", body])


def any_request(rng: random.Random) -> AnyRequest:
    """Return a request for a model `m` of one input, x; often it is right."""
    if rng.random() < 0.3:
        if rng.random() < 0.5:
            return AnyRequest(b"GET", EVAL + b"?x=3", (), None, True)
        return AnyRequest(b"POST", EVAL, (), _RIGHT, rng.random() < 0.7)
    method = rng.choice(_METHODS)
    headers = rng.choices(_HEADERS, k=rng.choice((0, 0, 1, 1, 2, 3)))
    has_body = rng.random() < (0.9 if method == b"POST" else 0.15)
    body = rng.choice(_BODIES) if has_body else None
    target = rng.choice(_TARGETS)
    return AnyRequest(method, target, tuple(headers), body, rng.random() < 0.8)
