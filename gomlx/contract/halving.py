"""Rows that failed together are tried again in halves, until the bad ones are alone."""

from typing import Protocol, Self, TypeVar


class Sliceable(Protocol):
    """A sequence whose slices are of its own type, such as a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Self: ...


Rows = TypeVar("Rows", bound=Sliceable)


def halves(rows: Rows) -> tuple[Rows, Rows]:
    """Split rows in two; of an odd number, the second half has one more."""
    middle = len(rows) // 2
    return rows[:middle], rows[middle:]
