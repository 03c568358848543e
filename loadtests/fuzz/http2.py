"""A client of HTTP/2 that sends frames as they are, and reads whole responses."""

import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from hpack import Decoder

from loadtests.fuzz.frames import (
    ACK,
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    GOAWAY,
    HEADERS,
    PADDED,
    PING,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
)
from loadtests.fuzz.reply import Reply

_HEAD_BYTES = 9
_SECONDS = 10  # to wait for a response


class RawHttp2:
    """One connection to a port of this host."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), _SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = bytearray()
        self._decoder = Decoder()
        self._block = b""
        self._replies: dict[int, Reply] = {}
        self._is_over = False
        self._pongs: set[bytes] = set()
        self.error: int | None = None  # of a GOAWAY
        self._socket.sendall(PREFACE + frame(SETTINGS, 0, 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def send(self, data: bytes, cuts: Sequence[int] = ()) -> None:
        """Send bytes, cut at some places."""
        with suppress(ConnectionError):  # the service closes after an error
            for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
                self._socket.sendall(data[start:stop])

    def replies(self, streams: Sequence[int]) -> list[Reply]:
        """Wait for responses, or for the end of the connection."""
        found = self._replies
        with suppress(ConnectionError, TimeoutError):
            while not self._is_over and not all(
                stream in found and found[stream].ends for stream in streams
            ):
                self._read()
        none = Reply(0, {}, b"", "nothing")
        return [self._in_order(found.get(stream, none)) for stream in streams]

    def is_answered(self, ping: bytes) -> bool:
        """Wait for the answer to a PING; False if the connection ends without it.

        Raises ConnectionError, TimeoutError.
        """
        while not self._is_over and ping not in self._pongs:
            self._read()
        return ping in self._pongs

    def finish(self) -> None:
        """Send nothing more, and wait for the end. Raises OSError, TimeoutError."""
        self._socket.shutdown(socket.SHUT_WR)
        while self._socket.recv(65536):
            pass

    @staticmethod
    def _in_order(reply: Reply) -> Reply:
        if reply.ends == "in order":
            return reply._replace(ends="")
        return reply if reply.ends else reply._replace(ends="too early")

    def _read(self) -> None:
        data = self._socket.recv(65536)
        self._is_over = self._is_over or not data
        received = self._received
        received += data
        while len(received) >= _HEAD_BYTES:
            size = _HEAD_BYTES + int.from_bytes(received[:3], "big")
            if len(received) < size:
                return
            one = bytes(received[:size])
            del received[:size]
            number = int.from_bytes(one[5:9], "big")
            self._note(one[3], one[4], number, one[_HEAD_BYTES:])

    def _note(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind in (HEADERS, CONTINUATION, DATA):
            self._note_part(kind, flags, stream, payload)
        elif kind == SETTINGS and not flags & ACK:
            self.send(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.send(frame(PING, ACK, 0, payload))
        elif kind == PING:
            self._pongs.add(payload)
        elif kind == RST_STREAM:
            self._reset(stream, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            self.error = int.from_bytes(payload[4:8], "big")
            self._is_over = self.error != 0

    def _note_part(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        """Note a part of a response."""
        if flags & PADDED and kind in (HEADERS, DATA):
            payload = payload[1 : len(payload) - payload[0]]
        if kind == DATA:
            reply = self._replies[stream]
            self._replies[stream] = reply._replace(body=reply.body + payload)
        else:
            self._block += payload
            if flags & END_HEADERS:
                self._head(stream)
        if kind in (HEADERS, DATA) and flags & END_STREAM:
            self._replies[stream] = self._replies[stream]._replace(ends="in order")

    def _head(self, stream: int) -> None:
        pairs = self._decoder.decode(self._block, raw=True)
        self._block = b""
        headers = {k.decode(): v.decode("latin-1") for k, v in pairs}
        status = int(headers.pop(":status", "0"))
        if status >= 200:
            self._replies[stream] = Reply(status, headers, b"")

    def _reset(self, stream: int, code: int) -> None:
        """Note a reset, which may follow a whole response, to stop its request."""
        reply = self._replies.get(stream, Reply(0, {}, b""))
        if not reply.ends:
            self._replies[stream] = reply._replace(ends=f"reset, {code}")
