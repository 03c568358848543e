"""Arrays on their way between a worker and the process of an isolated model.

A frame:

    4 bytes     length of the head, big-endian
    head        JSON: {"arrays": [[dtype, shape, bytes], …], "shared": …, "error": …}
    payload     the arrays' bytes, one after the other: here, or from the first byte of
                the memory that both processes share, where that is "shared"

An array of texts has the lengths of all texts (int64) and then their bytes. Numbers are
as the host has them. Not for other hosts; and each side writes to the memory only while
the other one waits for its frame.

What arrives is not trusted: it is checked before it is an array. It is copied out of
the shared memory, which the other side could change at any time.
"""

import json
import socket
import time
from collections.abc import Sequence
from math import prod
from mmap import mmap
from typing import Any

import numpy as np
import tensorflow as tf

from gomlx.contract.dtypes import DTYPES
from gomlx.errors import GomlxError

_LENGTH_BYTES = 4
_MOST_HEAD_BYTES = 1 << 20
_MOST_INLINE_BYTES = 1 << 16
_TEXT = "string"
_NUMPY = {
    dtype: np.dtype(tf.as_dtype(dtype).as_numpy_dtype)
    for dtype in DTYPES
    if dtype != _TEXT
}
_NAMES = {found: name for name, found in _NUMPY.items()}


class BadFrame(GomlxError):
    """What the other side has sent is not a frame."""


class ReportedError(GomlxError):
    """The other side reports an error instead of arrays."""


class Frames:
    """Sends and receives frames over a connected socket.

    memory: shared with the other side. most_bytes: of a payload that is received.
    """

    def __init__(
        self, connection: socket.socket, memory: mmap, most_bytes: int
    ) -> None:
        self._connection = connection
        self._memory = memory
        self._most_bytes = most_bytes

    def send(
        self, arrays: Sequence[Any], seconds: float | None = None, error: str = ""
    ) -> None:
        """Send arrays, or an error. Raises OSError; TimeoutError after so long."""
        parts = [_packed(array) for array in arrays]
        size = sum(len(part) for _, _, part in parts)
        is_shared = _MOST_INLINE_BYTES < size <= len(self._memory)
        described = [[dtype, shape, len(part)] for dtype, shape, part in parts]
        document = {"arrays": described, "shared": is_shared, "error": error}
        head = json.dumps(document).encode()
        self._connection.settimeout(seconds)
        frame = [len(head).to_bytes(_LENGTH_BYTES, "big"), head]
        if is_shared:
            self._write([part for _, _, part in parts])
        else:
            frame += [part for _, _, part in parts]
        self._connection.sendall(b"".join(frame))

    def receive(self, seconds: float | None = None) -> list[Any]:
        """Return the arrays of the next frame.

        Raises BadFrame; ReportedError; OSError, EOFError if the other side has ended;
        TimeoutError after so long.
        """
        until = None if seconds is None else time.monotonic() + seconds
        length = int.from_bytes(self._read(_LENGTH_BYTES, until), "big")
        if length > _MOST_HEAD_BYTES:
            raise BadFrame(f"a head of {length} bytes")
        described, is_shared, error = _parsed(bytes(self._read(length, until)))
        if error:
            raise ReportedError(error)
        size = sum(count for _, _, count in described)
        if size > (len(self._memory) if is_shared else self._most_bytes):
            raise BadFrame(f"{size} bytes are too many")
        payload = self._memory[:size] if is_shared else self._read(size, until)
        arrays = []
        start = 0
        for dtype, shape, count in described:
            arrays.append(_unpacked(dtype, shape, payload[start : start + count]))
            start += count
        return arrays

    def has_ended(self) -> bool:
        """Return whether the other side has ended, or sends what was not requested."""
        self._connection.settimeout(0)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        """Close the connection; the memory goes with the last reference to it."""
        self._connection.close()

    def _write(self, parts: Sequence[bytes]) -> None:
        start = 0
        for part in parts:
            self._memory[start : start + len(part)] = part
            start += len(part)

    def _read(self, count: int, until: float | None) -> bytearray:
        found = bytearray(count)
        view = memoryview(found)
        while view:
            remaining = None
            if until is not None:
                remaining = until - time.monotonic()
                if remaining <= 0:
                    raise TimeoutError
            self._connection.settimeout(remaining)
            received = self._connection.recv_into(view)
            if not received:
                raise EOFError
            view = view[received:]
        return found


def _packed(value: Any) -> tuple[str, list[int], bytes]:
    """Return the dtype, the shape and the bytes of an array, or of a scalar."""
    array = np.asarray(value)
    shape = list(array.shape)
    if array.dtype.kind in "OSU":
        texts = [
            one.encode() if isinstance(one, str) else bytes(one)
            for one in array.reshape(-1).tolist()
        ]
        lengths = np.array([len(one) for one in texts], np.int64)
        return _TEXT, shape, b"".join([lengths.tobytes(), *texts])
    return _NAMES[array.dtype], shape, array.tobytes()


def _parsed(head: bytes) -> tuple[list[tuple[str, list[int], int]], bool, str]:
    """Return what a head says. Raises BadFrame."""
    try:
        document = json.loads(head)
        described = [
            (str(dtype), [int(size) for size in shape], int(count))
            for dtype, shape, count in document["arrays"]
        ]
        found = described, bool(document["shared"]), str(document["error"])
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise BadFrame(f"its head is {type(error).__name__}: {error}") from None
    for dtype, shape, count in described:
        is_text = dtype == _TEXT
        if not is_text and dtype not in _NUMPY:
            raise BadFrame(f"dtype {dtype[:50]!r}")
        width = 8 if is_text else _NUMPY[dtype].itemsize
        least = prod(shape) * width
        if (
            min(shape, default=0) < 0
            or count < least
            or not (is_text or count == least)
        ):
            raise BadFrame(f"{count} bytes for {dtype} of shape {shape[:9]}")
    return found


def _unpacked(dtype: str, shape: Sequence[int], data: bytes | bytearray) -> Any:
    if dtype != _TEXT:
        return np.frombuffer(data, _NUMPY[dtype]).reshape(shape)
    count = prod(shape)
    lengths = np.frombuffer(data, np.int64, count).tolist()
    if min(lengths, default=0) < 0 or sum(lengths) != len(data) - 8 * count:
        raise BadFrame("lengths of texts that do not fit")
    array = np.empty(count, object)
    start = 8 * count
    for i, length in enumerate(lengths):
        array[i] = bytes(data[start : start + length])
        start += length
    return array.reshape(shape)
