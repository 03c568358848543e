"""One running computation per key; all who join meanwhile get its outcome too."""

from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Result_contra = TypeVar("Result_contra", contravariant=True)


class Waiter(Protocol[Result_contra]):
    """Waits for outcomes, each with its place.

    deadline is a time; 0 when it does not wait any more. It gets outcomes all the same.
    """

    deadline: float

    def complete(self, place: int, outcome: Result_contra, /) -> None:
        """Receive the outcome of a place."""


Waiting = Sequence[tuple[Waiter[Result], int]]


class SingleFlight(dict[Key, list[tuple[Waiter[Result], int]]], Generic[Key, Result]):
    """The flights of one process: who waits, by key. For one thread: the event loop's.

    PERF: a dict, since looking up a key through a method costs three times as much.
    """

    def join(
        self, key: Key, waiter: Waiter[Result], place: int
    ) -> Waiting[Result] | None:
        """Have a waiter receive the key's outcome.

        Return all who join, now and later, when no flight was under way: the caller has
        to start one, and end it with `complete`, whatever happens.
        """
        if (waiting := self.get(key)) is not None:
            waiting.append((waiter, place))
            return None
        self[key] = new = [(waiter, place)]
        return new

    def complete(self, key: Key, outcome: Result) -> None:
        """End the flight: hand the outcome to all who joined, in order."""
        # Out of the dict first: a waiter that joins again at once needs a new flight.
        for waiter, place in self.pop(key):
            waiter.complete(place, outcome)
