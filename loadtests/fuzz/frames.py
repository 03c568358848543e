"""Frames of HTTP/2: requests in any form, and connections that break the rules."""

import random
from collections import deque
from collections.abc import Iterable, Sequence

from loadtests.fuzz.malformed import EVAL
from loadtests.fuzz.requests import AnyRequest

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 0, 1, 2, 3, 4, 6
GOAWAY, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 7, 8, 9, 0x55
ACK = END_STREAM = 1
END_HEADERS, PADDED, WITH_PRIORITY = 4, 8, 0x20


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


# --- requests ---


def requests(asked: Sequence[AnyRequest], rng: random.Random) -> bytes:
    """Return the frames of requests on the streams 1, 3, …: cut, padded and mixed."""
    waiting = deque(
        deque(_frames_of(2 * n + 1, request, rng)) for n, request in enumerate(asked)
    )
    begun: list[deque[bytes]] = []
    sent = []
    while waiting or begun:
        if waiting and (not begun or rng.random() < 0.5):
            begun.append(waiting.popleft())  # streams begin in order
            one = begun[-1]
        else:
            one = rng.choice(begun)
        sent.append(one.popleft())
        if not one:
            begun.remove(one)
        if rng.random() < 0.1:
            sent.append(_harmless(rng))
    return b"".join(sent)


def _frames_of(stream: int, request: AnyRequest, rng: random.Random) -> Iterable[bytes]:
    """Yield a request: its header frames, which follow each other, then its data."""
    body = request.body
    yield _head(stream, hpack(request.fields), body is None, rng)
    if body is None:
        return
    has_trailers = rng.random() < 0.1
    parts = _cut(body, rng)
    for n, part in enumerate(parts, 1):
        is_last = n == len(parts) and not has_trailers
        flags = END_STREAM if is_last else 0
        if rng.random() < 0.2:
            yield frame(DATA, flags | PADDED, stream, b"\x05" + part + bytes(5))
        else:
            yield frame(DATA, flags, stream, part)
    if has_trailers:
        yield _head(stream, hpack([(b"x-trailer", b"y")]), True, rng)


def _head(stream: int, block: bytes, is_last: bool, rng: random.Random) -> bytes:
    """Return a list of headers as one or several frames."""
    first, *more = _cut(block, rng)
    flags = (END_STREAM if is_last else 0) | (0 if more else END_HEADERS)
    if rng.random() < 0.1:
        flags |= WITH_PRIORITY
        first = b"\0\0\0\0\x10" + first
    if first and rng.random() < 0.1:  # h2 takes no frame of nothing but padding
        flags |= PADDED
        first = b"\x03" + first + bytes(3)
    frames = [frame(HEADERS, flags, stream, first)]
    for n, part in enumerate(more, 1):
        end = END_HEADERS if n == len(more) else 0
        frames.append(frame(CONTINUATION, end, stream, part))
    return b"".join(frames)


def _harmless(rng: random.Random) -> bytes:
    """Return a frame that changes nothing."""
    return rng.choice(
        (
            frame(PING, 0, 0, b"12345678"),
            frame(WINDOW_UPDATE, 0, 0, b"\0\0\0\x09"),
            frame(UNKNOWN, 0, 0, b"what"),
            frame(SETTINGS, 0, 0),
        )
    )


def _cut(data: bytes, rng: random.Random) -> list[bytes]:
    """Return one to four parts, of which some may be empty."""
    cuts = sorted(rng.randrange(len(data) + 1) for _ in range(rng.choice((0, 0, 1, 3))))
    return [
        data[start:stop]
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True)
    ]


def hpack(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return a list of headers as literals, which no table has to hold."""
    return b"".join(b"\0" + _text(name) + _text(value) for name, value in fields)


def _text(text: bytes) -> bytes:
    rest = len(text) - 127
    if rest < 0:
        return bytes((len(text),)) + text
    size = b"\x7f"
    while rest > 127:
        size += bytes((rest % 128 + 128,))
        rest //= 128
    return size + bytes((rest,)) + text


# --- hostile connections ---

_HOT = b"\x83\x04" + bytes((len(EVAL),)) + EVAL + b"\x86\x41\x01h"
_QUERY = EVAL + b"?x=1"
_GET = b"\x82\x04" + bytes((len(_QUERY),)) + _QUERY + b"\x86\x41\x01h"
_WAIT = b"\x82\x04\x05/wait\x86\x41\x01h"
_ROOT = b"\x82\x84\x86\x41\x01h"
_LENGTH = _HOT + b"\x0f\x0d\x017"
_HEADS = [*[_HOT, _GET, _LENGTH] * 5, _ROOT, _WAIT, b"\xff\xff", b""]
_BODIES = [b"", b'{"x":1}', b'{"x":', b"x" * 1200]
_NUMBERS = [0, 1, 5, 255, 65_535, (1 << 31) - 1]


def hostile(chance: random.Random) -> bytes:
    """Return all that one client sends: frames as they may be sent, or nearly so."""
    opened: list[int] = []
    frames = [_any_frame(chance, opened) for _ in range(chance.randint(1, 40))]
    data = bytearray(PREFACE + frame(SETTINGS, 0, 0) + b"".join(frames))
    if chance.random() < 0.2:
        data[chance.randrange(len(PREFACE), len(data))] ^= 1 << chance.randrange(8)
    return bytes(data)


def _any_frame(chance: random.Random, opened: list[int]) -> bytes:
    kinds = [DATA] * 6 + [HEADERS] * 12
    kinds += [PRIORITY, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, WINDOW_UPDATE]
    kind = chance.choice([*[*kinds, UNKNOWN] * 2, GOAWAY, CONTINUATION])
    streams = opened[-4:] * 9
    stream = chance.choice([*streams, 0, opened[-1] + 1]) if opened else 0
    payload = chance.choice(_NUMBERS).to_bytes(4, "big")
    if kind == HEADERS or not opened:
        kind = HEADERS
        stream = opened[-1] + 2 if opened else 1
        opened.append(stream)
        payload = chance.choice(_HEADS)
    elif kind == DATA:
        payload = chance.choice(_BODIES)
    elif kind == SETTINGS:
        payload = chance.choice([b"", b"\0\x04" + payload, b"\0\x01" + payload, b"a"])
    elif kind in (PING, GOAWAY):
        payload += bytes(4)
    elif kind == PRIORITY:
        payload += b"a"
    stream = 0 if kind in (SETTINGS, PING, GOAWAY) else stream
    flags = chance.choice([*[4, 5] * 9, 0, 1, 0x20, 0x08, 0xFF])
    return frame(kind, flags if kind < SETTINGS else flags & 1, stream, payload)
