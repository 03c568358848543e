"""Sequences of HTTP/2's frames that are changed: errors have a code, others go on."""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from loadtests.fuzz import frames
from loadtests.fuzz.cases import Case, Finding, cut
from loadtests.fuzz.frames import frame
from loadtests.fuzz.http2 import RawHttp2
from loadtests.fuzz.malformed import EVAL
from loadtests.fuzz.requests import AnyRequest
from loadtests.fuzz.ways import CONFIG
from tests.support import saved_models
from tests.support.service import Service, running

_HEAD = 9
_TRIES = 3  # a reset may overtake the GOAWAY before it
_XS = 400
_PING = b"the last"
_LENGTHS = (0, 1, 8, 255, 16_384, 16_385, 65_535, (1 << 24) - 1)
_STREAMS = (0, 1, 2, 3, 5, 255, (1 << 31) - 1, 1 << 31)
_ERRORS = (
    *("NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR"),
    *("SETTINGS_TIMEOUT", "STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM"),
    *("CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM"),
    *("INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"),
)


def split(data: bytes) -> list[bytes]:
    """Return frames; the last one may have fewer bytes than it says."""
    found = []
    while data:
        size = _HEAD + int.from_bytes(data[:3], "big")
        found.append(data[:size])
        data = data[size:]
    return found


def changed(sequence: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Return frames of which some are left out, repeated, moved, cut or another's."""
    found = [*sequence]
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        if not found:
            break
        place = rng.randrange(len(found))
        found[place : place + 1] = _instead(found[place], found, rng)
        if rng.random() < 0.2:
            rng.shuffle(found)
    return found


def _instead(one: bytes, others: Sequence[bytes], rng: random.Random) -> list[bytes]:
    """Return frames for the place of one of them."""
    changes: tuple[Callable[[], list[bytes]], ...] = (
        lambda: [],
        lambda: [one] * rng.choice((2, 3, 50)),
        lambda: [one, rng.choice(others)],
        lambda: [_with_head(one, rng)],
        lambda: [_with_head(one, rng)],
        lambda: [_with_head(one, rng)],
        lambda: [_resized(one, rng)],
        lambda: [cut(one, rng)],
        lambda: split(frames.hostile(rng)[len(frames.PREFACE) :])[:6],
    )
    return rng.choice(changes)()


def _with_head(one: bytes, rng: random.Random) -> bytes:
    """Change a byte of what says a frame's type, flags or stream."""
    head = bytearray(one[3:_HEAD].ljust(6, b"\0"))
    if rng.random() < 0.4:
        head[0] = rng.choice((*range(11), 0x55))
    if rng.random() < 0.5:
        head[1] ^= 1 << rng.randrange(8)
    if rng.random() < 0.4:
        head[2:] = rng.choice(_STREAMS).to_bytes(4, "big")
    return one[:3] + bytes(head) + one[_HEAD:]


def _resized(one: bytes, rng: random.Random) -> bytes:
    """Let a frame say another length, or have another one."""
    length = rng.choice((*_LENGTHS, max(0, len(one) - _HEAD - 1), len(one) - _HEAD + 1))
    payload = one[_HEAD:]
    if rng.random() < 0.7 and length <= 65_535:
        payload = payload[:length].ljust(length, b"\0")
    return length.to_bytes(3, "big") + one[3:_HEAD] + payload


class Sequences:
    """Sends changed frames to a service whose model is y = 2 x."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._port = int(service.url.rpartition(":")[2])
        self._pids = service.worker_pids()

    def case(self, seed: int) -> str:
        """Send one sequence, and ask on another connection. Raises Finding."""
        rng = random.Random(seed)
        asked = [_asked(rng) for _ in range(rng.randint(1, 6))]
        sequence = changed(split(frames.requests(asked, rng)), rng)
        data = b"".join(sequence) + frame(frames.PING, 0, 0, _PING)
        cuts = sorted(rng.randrange(len(data)) for _ in range(rng.randint(0, 3)))
        with RawHttp2(self._port) as witness:
            kind = self._outcome(data, cuts)
            self._check(witness, rng)
        return kind

    def _outcome(self, data: bytes, cuts: Sequence[int]) -> str:
        kind = ""
        for _ in range(_TRIES):
            kind = self._sent(data, cuts)
            if kind:
                return kind
        raise Finding(f"{data!r}\nthe connection ended without a GOAWAY")

    def _sent(self, data: bytes, cuts: Sequence[int]) -> str:
        """Send bytes once; return how the connection went on, or nothing."""
        whole = split(data)
        is_whole = len(whole[-1]) == _HEAD + int.from_bytes(whole[-1][:3], "big")
        is_over = any(one[3:4] == bytes((frames.GOAWAY,)) for one in whole)
        with RawHttp2(self._port) as connection:
            connection.send(data, cuts)
            if not is_whole:
                with suppress(ConnectionError):
                    _unless_late(connection.finish, data)
                return "cut short"
            with suppress(ConnectionError):
                if _unless_late(partial(connection.is_answered, _PING), data):
                    return "goes on"
            if connection.error:
                return f"GOAWAY, {_name(connection.error)}"
            return "ended by the client" if is_over else ""

    def _check(self, witness: RawHttp2, rng: random.Random) -> None:
        """Ask on another connection, which must be answered by the same worker."""
        x = rng.randrange(_XS)
        asked = AnyRequest(b"GET", EVAL + b"?x=%d" % x, (), None, True)
        witness.send(frames.requests([asked], rng))
        (reply,) = witness.replies([1])
        status, _, documents, ends = reply.told()
        if status != 200 or ends or documents[0]["data"] != {"y": 2.0 * x}:
            raise Finding(f"another connection got {reply}")
        if self._service.worker_pids() != self._pids:
            raise Finding(f"a worker has ended: {self._service.text()[-5000:]}")


def _asked(rng: random.Random) -> AnyRequest:
    x = rng.randrange(_XS)
    if rng.random() < 0.5:
        return AnyRequest(b"GET", EVAL + b"?x=%d" % x, (), None, True)
    return AnyRequest(b"POST", EVAL, (), b'{"x":%d}' % x, rng.random() < 0.7)


def _unless_late(wait: Callable[[], object], data: bytes) -> object:
    try:
        return wait()
    except TimeoutError:
        raise Finding(f"{data!r}\nno answer, and no end") from None


def _name(error: int) -> str:
    return _ERRORS[error] if error < len(_ERRORS) else str(error)


@contextmanager
def opened(folder: Path, only: str) -> Iterator[Case]:
    """Run a service, and yield what tries a seed."""
    saved_models.scale(folder / "model", 2.0)
    with running(folder, CONFIG) as service:
        yield Sequences(service).case
        if "Traceback" in (text := service.text()):
            raise Finding(text[-5000:])
