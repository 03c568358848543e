"""Requests of every kind as bytes, and what answers them."""

import json
from typing import Any

EVAL = b"/v1/api/model/m/eval"


def post(body: bytes, *headers: bytes, path: bytes = EVAL) -> bytes:
    """Return a request."""
    lines = [b"POST %b HTTP/1.1" % path, b"host: h", b"content-length: %d" % len(body)]
    return b"\r\n".join([*lines, *headers, b"", body])


def answers(text: bytes) -> list[tuple[int, dict[str, str], Any]]:
    """Split what a server sent into (status, headers, document)."""
    found = []
    while text:
        head, _, rest = text.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        if first == "HTTP/1.1 100 Continue":
            text = rest  # a probe: is the peer still there?
            continue
        headers = dict(line.split(": ", 1) for line in lines)
        size = int(headers["content-length"])
        found.append((int(first.split()[1]), headers, json.loads(rest[:size])))
        text = rest[size:]
    return found


def ys(text: bytes) -> list[float]:
    """Return the outputs `y` of what a server sent."""
    return [document["data"]["y"] for _, _, document in answers(text)]


# Requests that are not for the hot protocol.
OTHERS = {
    "another path": b"GET /livez HTTP/1.1\r\nhost: h\r\n\r\n",
    "another method": b"DELETE %b HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL,
    "HTTP/1.2": b"GET %b?x=1 HTTP/1.2\r\nhost: h\r\n\r\n" % EVAL,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "chunked": b"POST %b HTTP/1.1\r\nhost: h\r\ntransfer-encoding: chunked\r\n\r\n"
    b'7\r\n{"x":1}\r\n0\r\n\r\n' % EVAL,
    "expect": post(b'{"x":1}', b"expect: 100-continue"),
    "upgrade": post(b'{"x":1}', b"connection: upgrade", b"upgrade: h2c"),
    "no host": b"GET %b?x=1 HTTP/1.1\r\n\r\n" % EVAL,
    "body over the limit": post(b" " * 1001),
    "two lengths": post(b'{"x":1}', b"content-length: 8"),
    "length and chunks": post(b'{"x":1}', b"transfer-encoding: chunked"),
    "bad length": b"POST %b HTTP/1.1\r\nhost: h\r\ncontent-length: +7\r\n\r\n" % EVAL,
    "space before colon": post(b'{"x":1}', b"x : y"),
    "folded header": post(b'{"x":1}', b"x: y", b" z"),
    "a get with a body": b"GET %b?x=1 HTTP/1.1\r\nhost: h\r\ncontent-length: 1\r\n\r\nx"
    % EVAL,
    "garbage": b"\x00\x01\x02",
    "leading empty line": b"\r\n" + post(b'{"x":1}'),
    "no time at all": post(b'{"x":1}', b"request-timeout-ms: 0"),
    "two hosts": post(b'{"x":1}', b"host: other"),
    "two types": post(b'{"x":1}', *[b"content-type: text/json"] * 2),
    "a query of other bytes": b"GET %b?x=\x80 HTTP/1.1\r\nhost: h\r\n\r\n" % EVAL,
    "two times": post(b'{"x":1}', *[b"request-timeout-ms: 5"] * 2),
    "no time to read": post(b'{"x":1}', b"request-timeout-ms: soon"),
}

# Requests with heads of more than 500 bytes.
LARGE_HEADS = {
    "whole": post(b'{"x":1}', b"x: " + b"y" * 500),
    "endless": b"POST %b HTTP/1.1\r\nx: " % EVAL + b"y" * 600,
    "without line ends": b"GET %b?x=1 HTTP/1.1\nhost: h\n\n" % EVAL + b" " * 600,
    "of another route": b"GET /livez HTTP/1.1\r\nx: " + b"y" * 600 + b"\r\n\r\n",
}
