"""One problem of a config file."""

import difflib
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Problem(NamedTuple):
    """What is wrong with the value at a path of the document, such as models[0].id."""

    path: str
    message: str

    @classmethod
    def at(cls, path: str, reason: str) -> "Problem":
        """Return a problem whose message begins with its path."""
        return cls(path, f"{path}: {reason}")


Problems = Iterator[Problem]


def nearest(name: str, known: Sequence[str], otherwise: str) -> str:
    """Return a hint for an unknown name: the known one most like it, if any is."""
    near = difflib.get_close_matches(name, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else otherwise
