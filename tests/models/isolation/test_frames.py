"""Arrays over a socket and shared memory, and what is not believed of them."""

import json
import mmap
import socket
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from gomlx.contract.dtypes import DTYPES
from gomlx.models.isolation.frames import BadFrame, Frames, ReportedError

SHARED_BYTES = 1 << 20


class Pair(NamedTuple):
    """Two sides, and the bare socket of the first one."""

    left: Frames
    right: Frames
    connection: socket.socket
    memory: mmap.mmap


@pytest.fixture
def pair() -> Iterator[Pair]:
    a, b = socket.socketpair()
    memory = mmap.mmap(-1, SHARED_BYTES)
    yield Pair(Frames(a, memory, 1 << 24), Frames(b, memory, 1 << 24), a, memory)
    a.close()
    b.close()


def passed(pair: Pair, arrays: list[Any]) -> list[Any]:
    """Send in a thread: a frame may be larger than what the kernel keeps."""
    sending = threading.Thread(target=pair.left.send, args=(arrays, 60))
    sending.start()
    found = pair.right.receive(60)
    sending.join()
    return found


@pytest.mark.parametrize("dtype", sorted(DTYPES - {"string"}))
def test_numbers_of_each_dtype(pair: Pair, dtype: str) -> None:
    kind = tf.as_dtype(dtype).as_numpy_dtype
    arrays = [
        np.array([[1, 0, 1], [0, 1, 1]]).astype(kind),
        np.array(1).astype(kind),
        np.zeros((0, 3), kind),
    ]
    found = passed(pair, arrays)
    for before, after in zip(arrays, found, strict=True):
        assert (after.dtype, after.shape) == (before.dtype, before.shape)
        assert after.tobytes() == before.tobytes()


def test_texts(pair: Pair) -> None:
    texts = np.array([[b"", b"\xff\x00"], ["ä".encode(), b"x" * 1000]], object)
    (found, scalar) = passed(pair, [texts, b"one"])
    assert found.tolist() == texts.tolist()
    assert scalar.shape == ()
    assert scalar[()] == b"one"


@pytest.mark.parametrize("count", [10, 100_000, 1_000_000])
def test_here_or_in_shared_memory(pair: Pair, count: int) -> None:
    numbers = np.arange(count, dtype=np.float32)
    (found,) = passed(pair, [numbers])
    assert (found == numbers).all()
    is_shared = pair.memory[:4000] == numbers[:1000].tobytes()
    assert is_shared == (count == 100_000)
    pair.memory[:4] = b"\xff\xff\xff\xff"
    assert found[0] == 0  # it is a copy


def test_an_error(pair: Pair) -> None:
    pair.left.send([], error="no such thing")
    with pytest.raises(ReportedError, match="no such thing"):
        pair.right.receive(60)


def head(*arrays: Any, **more: Any) -> bytes:
    document = {"arrays": arrays, "shared": False, "error": ""} | more
    text = json.dumps(document).encode()
    return len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize(
    "frame",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\2[]",
        b"\0\0\0\2\xff\xff",
        head(["object", [1], 8]),
        head(["float32", [2], 4]),
        head(["float32", [-1], -4]),
        head(["float32", [-1, -1], 4]),
        head(["float32", [1 << 62], 1 << 64]),
        head(["float32", ["x"], 4]),
        head(["float32", [1 << 22], 1 << 24], ["float32", [1], 4]),
        head(["uint8", [SHARED_BYTES + 1], SHARED_BYTES + 1], shared=True),
        head(["string", [2], 8]) + bytes(8),
        head(["string", [1], 9]) + (2).to_bytes(8, "little") + b"x",
        head(["string", [2], 17])
        + (-1).to_bytes(8, "little", signed=True)
        + (2).to_bytes(8, "little")
        + b"x",
    ],
)
def test_what_is_not_a_frame(pair: Pair, frame: bytes) -> None:
    pair.connection.sendall(frame)
    with pytest.raises(BadFrame):
        pair.right.receive(60)


def test_a_side_that_ends(pair: Pair) -> None:
    assert not pair.right.has_ended()
    pair.connection.sendall(head()[:5])
    pair.connection.close()
    with pytest.raises(EOFError):
        pair.right.receive(60)
    assert pair.right.has_ended()


def test_a_side_that_sends_slowly(pair: Pair) -> None:
    stop = threading.Event()

    def send() -> None:
        for byte in head(["uint8", [1000], 1000]) + bytes(1000):
            if not stop.wait(0.1):
                pair.connection.sendall(bytes([byte]))

    sending = threading.Thread(target=send)
    sending.start()
    with pytest.raises(TimeoutError):
        pair.right.receive(0.5)
    stop.set()
    sending.join()
