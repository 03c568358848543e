"""The header X-Request-Id, and which id a request has.

An id is 1 to 128 characters of ASCII that can be printed. It goes into answers and logs
as it is, so one that is anything else is replaced.
"""

import re
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import NamedTuple

from gomlx.runtime.randomness import RANDOM

REQUEST_ID = b"x-request-id"
MOST_BYTES = 128
USUAL_FORM = b"\r\nX-Request-Id: "
_PRINTABLE = bytes(range(0x20, 0x7F))
_NUMBERS = 1 << 64
# A value, without the spaces around it, may have any bytes but those of control.
_FIELD = re.compile(
    rb"(\r\n%b:[ \t]*)([\t -~\x80-\xff]*?)[ \t]*(?=\r\n)" % REQUEST_ID, re.I
)


class RequestIds:
    """Decides which id each request of a worker has.

    makes: whether one that came without an id gets a fresh one.
    """

    def __init__(self, makes: bool, random: Random = RANDOM) -> None:
        """random: for what sets the ids of a worker apart; made after the fork."""
        self.makes = makes
        self._worker = b"%016x" % random.randrange(_NUMBERS)
        self._numbers = count(1)

    def of(self, given: Sequence[bytes]) -> bytes:
        """Return the id of a request with these values of the header; b"": none."""
        if len(given) == 1 and is_id(given[0]):
            return given[0]
        return self.fresh() if given or self.makes else b""

    def fresh(self) -> bytes:
        """Return an id that no other request has: 32 digits."""
        return b"%b%016x" % (self._worker, next(self._numbers))


def is_id(value: bytes) -> bool:
    """Whether a value can be the id of a request."""
    return 0 < len(value) <= MOST_BYTES and not value.translate(None, _PRINTABLE)


class FoundField(NamedTuple):
    """A head of HTTP/1.1 in parts. form: the header's name, up to the value."""

    form: bytes
    value: bytes
    rest: bytes


def find(head: bytes) -> FoundField | None:
    """Find the header in a head, and take it out; None: it is not there.

    One that comes again is in what remains.
    """
    found = _FIELD.search(head)
    if found is None:
        return None
    return FoundField(found[1], found[2], head[: found.start()] + head[found.end() :])


def has_id(rest: bytes) -> bool:
    """Whether bytes begin with a head that has the header."""
    end = rest.find(b"\r\n\r\n") + 4
    return find(rest[:end]) is not None


def without_id(head: bytes) -> bytes:
    """Return a head without the header."""
    found = find(head)
    return head if found is None else found.rest


def with_id(lines: bytes, request_id: bytes) -> bytes:
    """Return lines of an answer's head, and the header if there is an id."""
    return b"%bx-request-id: %b\r\n" % (lines, request_id) if request_id else lines
