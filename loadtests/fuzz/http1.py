"""Streams of bytes over HTTP/1.1, as the hot protocol and as Gunicorn's reads them.

They are sent twice, cut at random places: as they are, so that the hot protocol reads
them, and after a request that hands the connection over to Gunicorn's protocol.
"""

import random
import re
import socket
from contextlib import suppress
from typing import Any

from loadtests.fuzz.reply import Reply, document_of
from loadtests.fuzz.requests import AnyRequest

LIVE = b"GET /livez HTTP/1.1\r\nhost: h\r\n"
# Ends each stream, however many of its bytes belong to an unfinished body.
_END = (LIVE + b"connection: close\r\n\r\n") * 40
_LAST = LIVE + b"connection: close\r\n\r\n"
_BODILESS = (204, 304)
_TRIES = 3  # to reproduce a difference


class Answers:
    """The responses of a service at a port, by either protocol."""

    def __init__(self, port: int) -> None:
        self._port = port

    def hot(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return the responses to bytes that are sent as they are."""
        return answers(self.talk(text + _END, cuts or []))

    def asgi(self, text: bytes, cuts: list[int] | None = None) -> list[Any]:
        """Return the responses of Gunicorn's protocol, without that of `first`."""
        first = LIVE + b"\r\n"
        places = [len(first) + cut for cut in cuts or []]
        return answers(self.talk(first + text + _END, places))[1:]

    def reply(self, request: AnyRequest, cuts: list[int], hands_over: bool) -> Reply:
        """Return the response to one request; hands_over: of Gunicorn's protocol."""
        first = LIVE + b"\r\n" if hands_over else b""
        places = [len(first) + cut for cut in cuts]
        received = self.talk(first + request.text + _LAST, places)
        heads = hands_over if request.method == b"HEAD" else -1
        found = replies(received, heads)[hands_over:]
        return found[0] if found else Reply(0, {}, b"", "nothing")

    def talk(self, text: bytes, cuts: list[int]) -> bytes:
        """Send bytes, cut at some places; return all bytes that are received."""
        with socket.create_connection(("127.0.0.1", self._port), 10) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with suppress(ConnectionError):  # the service closes after an error
                for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True):
                    connection.sendall(text[start:stop])
            found = b""
            with suppress(ConnectionError, TimeoutError):
                while part := connection.recv(65536):
                    found += part
            return found


def answers(text: bytes) -> list[Any]:
    """Split bytes into (status, document) of responses, without measured times."""
    return [
        (reply.status, _document(reply.body)) if reply.status else reply.body
        for reply in replies(text)
    ]


def replies(text: bytes, head: int = -1) -> list[Reply]:
    """Split bytes into responses; what is none has the status 0.

    head: the place of one that answers a HEAD, and has no body.
    """
    found: list[Reply] = []
    while match := re.match(rb"HTTP/1\.[01] (\d{3})[^\r]*\r\n", text):
        top, _, text = text.partition(b"\r\n\r\n")
        status = int(match[1])
        if status == 100:
            continue  # sent only if the body is late (RFC 9110, 10.1.1)
        headers = _headers(top)
        body = b""
        if len(found) != head and status not in _BODILESS:
            body, text = _body(headers, text)
        found.append(Reply(status, headers, body))
    return [*found, Reply(0, {}, text)] if text else found


def _headers(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    pairs = (line.partition(":")[::2] for line in lines)
    return {name.lower(): value.strip() for name, value in pairs}


def _body(headers: dict[str, str], text: bytes) -> tuple[bytes, bytes]:
    """Return a body and what follows it."""
    if headers.get("transfer-encoding") == "chunked":
        return _chunks(text)
    size = int(headers.get("content-length", len(text)))
    return text[:size], text[size:]


def _chunks(text: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, _, text = text.partition(b"\r\n")
        size = int(line or b"0", 16)
        body += text[:size]
        text = text[size + 2 :]
        if not size:
            return body, text


def _document(body: bytes) -> Any:
    document = document_of(body)
    return None if isinstance(document, bytes) else document  # a text of Gunicorn's


def differences(found: Answers, text: bytes, rng: random.Random) -> str:
    """Return how the two protocols differ, or an empty text.

    A difference is one that stays in several tries: Gunicorn answers what follows an
    error only if it arrives in a later packet, so that its responses vary.
    """
    cuts = sorted(rng.randrange(len(text) + 1) for _ in range(rng.randint(0, 3)))
    for _ in range(_TRIES):
        hot = found.hot(text, cuts)
        asgi = found.asgi(text, cuts)
        if hot == asgi:
            return ""
    return f"{text!r}\nhot:  {hot}\nasgi: {asgi}"
