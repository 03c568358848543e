"""One running computation per key; whoever asks meanwhile gets its outcome too."""

from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Outcome = TypeVar("Outcome")
Heard_contra = TypeVar("Heard_contra", contravariant=True)


class Waiter(Protocol[Heard_contra]):
    """Who waits for outcomes, in a place for each one.

    wanted_until is a time; 0 when it does not wait any more. It is told all the same.
    """

    wanted_until: float

    def land(self, place: int, outcome: Heard_contra, /) -> None:
        """Take the outcome for a place."""


Waiting = Sequence[tuple[Waiter[Outcome], int]]


class SingleFlight(Generic[Key, Outcome]):
    """The flights of one process. For one thread: the event loop's."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[tuple[Waiter[Outcome], int]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, key: Key) -> bool:
        return key in self._waiting

    def join(
        self, key: Key, waiter: Waiter[Outcome], place: int
    ) -> Waiting[Outcome] | None:
        """Have the waiter told of the key's outcome.

        Return who has joined, and will, when no flight was under way: the caller must
        start one, and end it with `land`, whatever happens.
        """
        if (waiting := self._waiting.get(key)) is not None:
            waiting.append((waiter, place))
            return None
        self._waiting[key] = new = [(waiter, place)]
        return new

    def waiting(self, key: Key) -> Waiting[Outcome]:
        """Return who has joined, and will."""
        return self._waiting[key]

    def land(self, key: Key, outcome: Outcome) -> None:
        """End the flight: tell everyone who joined it, in order."""
        # Out of the dict first: one who is told may ask again, and must fly anew.
        for waiter, place in self._waiting.pop(key):
            waiter.land(place, outcome)
