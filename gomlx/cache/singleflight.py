"""One running computation per key; whoever asks meanwhile gets its outcome too."""

from collections.abc import Hashable, Sequence
from typing import Generic, Protocol, TypeVar

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Heard_contra = TypeVar("Heard_contra", contravariant=True)


class Waiter(Protocol[Heard_contra]):
    """Who waits for outcomes, in a place for each one.

    wanted_until is a time; 0 when it does not wait any more. It is told all the same.
    """

    deadline: float

    def complete(self, place: int, outcome: Heard_contra, /) -> None:
        """Take the outcome for a place."""


Waiting = Sequence[tuple[Waiter[Result], int]]


class SingleFlight(dict[Key, list[tuple[Waiter[Result], int]]], Generic[Key, Result]):
    """The flights of one process: who waits, by key. For one thread: the event loop's.

    PERF: a dict, since to ask for a key through a method costs three times as much.
    """

    def join(
        self, key: Key, waiter: Waiter[Result], place: int
    ) -> Waiting[Result] | None:
        """Have the waiter told of the key's outcome.

        Return who has joined, and will, when no flight was under way: the caller must
        start one, and end it with `complete`, whatever happens.
        """
        if (waiting := self.get(key)) is not None:
            waiting.append((waiter, place))
            return None
        self[key] = new = [(waiter, place)]
        return new

    def complete(self, key: Key, outcome: Result) -> None:
        """End the flight: tell everyone who joined it, in order."""
        # Out of the dict first: one who is told may ask again, and must fly anew.
        for waiter, place in self.pop(key):
            waiter.complete(place, outcome)
