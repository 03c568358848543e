"""The span that a request belongs to, as W3C Trace Context tells it.

    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 version, trace, span, flags: 1 says that the sender records it

https://www.w3.org/TR/trace-context/
"""

import re
from typing import NamedTuple

_VALUE = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?",
    re.ASCII,
)
_SAMPLED = 1


class Parent(NamedTuple):
    """A span elsewhere, whose trace is recorded."""

    trace: int
    span: int


def sampled_parent(value: str) -> Parent | None:
    """Return the span of a traceparent whose trace is recorded.

    None: it is not recorded, or the value is malformed and means nothing.
    """
    found = _VALUE.fullmatch(value)
    if found is None or found["version"] == "ff":
        return None
    if found["more"] and found["version"] == "00":
        return None
    parent = Parent(int(found["trace"], 16), int(found["span"], 16))
    is_sampled = int(found["flags"], 16) & _SAMPLED
    return parent if is_sampled and parent.trace and parent.span else None
