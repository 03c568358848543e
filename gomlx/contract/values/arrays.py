"""Large arrays of numbers in a JSON body, decoded piece by piece.

orjson makes a list of each pair of brackets, and holds the interpreter until the last
one: 10 ms for an image, in which no other thread runs. An array of numbers needs
neither: its brackets say its shape, and the rest is one flat list, whose pieces are
JSON themselves. What is not surely such an array is for orjson as a whole.

    {"image":[[1,2],[3,4]],"k":3}
             └─ brackets [[,],[,]] ─► shape (2, 2)
              └ the rest  1,2,3,4  ─► values, piece by piece

The array is taken out of the body, and a mark put in its place: the decoded body has
the mark where the array was the value of a name, and nowhere else.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

LEAST_BYTES = 1 << 15  # of an array that is worth it
MAX_DEPTH = 32  # of nested lists
_PIECE_BYTES = 1 << 16
_NUMBERS = b"0123456789+-.eE"
_MARK = "\0array %d"  # no text of a body that is cut has a NUL


class Array(NamedTuple):
    """Nested lists of numbers, as JSON has them: their shape, and their elements."""

    shape: tuple[int, ...]
    values: list[int | float]

    def lists(self) -> list[Any]:
        """Return the nested lists."""
        values: list[Any] = self.values
        for size in reversed(self.shape[1:]):
            starts = range(0, len(values), size)
            values = [values[at : at + size] for at in starts]
        return values

    def rows(self) -> list[Any]:
        """Return the elements of the outer list."""
        size, *inner = self.shape
        if not inner:
            return self.values
        each = math.prod(inner)
        starts = range(0, size * each, each)
        return [Array(tuple(inner), self.values[at : at + each]) for at in starts]


def decoded(body: bytes, pause: Callable[[], object]) -> Any:
    """Decode a JSON object in which large arrays of numbers are values of their own.

    pause is called between pieces. Returns None for a body in which none is found, or
    that is not surely what it seems: another decoder must look at it.
    """
    try:
        return _decoded(body, pause)
    except orjson.JSONDecodeError:
        return None


def as_lists(body: dict[str, Any]) -> dict[str, Any]:
    """Return a decoded body as any JSON decoder returns it: with lists, no Arrays."""
    return {
        name: value.lists() if isinstance(value, Array) else value
        for name, value in body.items()
    }


def _decoded(body: bytes, pause: Callable[[], object]) -> Any:
    arrays: list[Array] = []
    parts: list[bytes] = []
    end = 0
    while (found := _next(body, end)) is not None:
        start, stop = found
        array = _array(body[start:stop], pause)
        if array is None:
            return None
        parts += [body[end:start], orjson.dumps(_MARK % len(arrays))]
        arrays.append(array)
        end = stop
    if not arrays or b"\\u0000" in b"".join(parts[::2]) + body[end:]:
        return None
    return _joined(b"".join([*parts, body[end:]]), arrays)


def _next(body: bytes, at: int) -> tuple[int, int] | None:
    """Return where the next large array may begin and end: up to a quote or the end."""
    while (start := body.find(b":[", at)) >= 0:
        at = body.find(b'"', start)
        at = at if at >= 0 else len(body)
        if at - start >= LEAST_BYTES:
            return start + 1, body.rfind(b"]", start, at) + 1
    return None


def _array(text: bytes, pause: Callable[[], object]) -> Array | None:
    """Return an array of numbers; None if the text is not surely one."""
    if b" " in text:
        text = text.replace(b", ", b",")
    brackets = text.translate(None, _NUMBERS)
    pause()
    shape = _shape(brackets)
    if shape is None:
        return None
    values = _values(text[len(shape) : -len(shape)], len(shape), pause)
    return Array(shape, values) if len(values) == math.prod(shape) else None


def _shape(brackets: bytes) -> tuple[int, ...] | None:
    """Return the shape of nested lists of equal lengths, from brackets and commas."""
    rank = len(brackets) - len(brackets.lstrip(b"["))
    # The loop looks through all brackets as often.
    if rank > MAX_DEPTH or brackets.translate(None, b"[],"):
        return None
    shape: list[int] = []
    element = b""
    for depth in range(1, rank + 1):
        end = brackets.find(b"]" * depth) + depth
        size = (end - rank + depth - 1) // (len(element) + 1)
        element = b"[" + ((element + b",") * size)[:-1] + b"]"
        shape.insert(0, size)
    return tuple(shape) if rank and element == brackets else None


def _values(text: bytes, rank: int, pause: Callable[[], object]) -> list[int | float]:
    """Decode the elements of an array, without its outer brackets.

    Returns fewer if a bracket is not where it belongs. Raises orjson.JSONDecodeError.
    """
    values: list[int | float] = []
    at = 0
    closed = 0  # brackets at the end of the last piece, which this one must open again
    while at < len(text):
        end = text.find(b",", at + _PIECE_BYTES)
        end = end if end >= 0 else len(text)
        if not text.startswith(b"[" * closed, at):
            return []
        opened = text[at + closed : end]
        piece = opened.rstrip(b"]")
        closed = len(opened) - len(piece)
        for depth in range(rank - 1, 0, -1):
            piece = piece.replace(b"]" * depth + b"," + b"[" * depth, b",")
        if b"[" in piece or b"]" in piece:
            return []
        values += orjson.loads(b"[%b]" % piece)
        at = end + 1
        pause()
    return [] if closed else values


def _joined(rest: bytes, arrays: list[Array]) -> Any:
    """Return the decoded rest of a body with arrays in the places of their marks."""
    body = orjson.loads(rest)
    if not isinstance(body, dict):
        return None
    marks = {_MARK % i: array for i, array in enumerate(arrays)}
    found = [value for value in body.values() if type(value) is str and value in marks]
    if sorted(found) != sorted(marks):  # in a list, or under a name that comes twice
        return None
    return {
        name: marks.get(value, value) if type(value) is str else value
        for name, value in body.items()
    }
