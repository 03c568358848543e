"""One running computation per key; whoever asks meanwhile gets its outcome too."""

from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Outcome = TypeVar("Outcome")


class SingleFlight(Generic[Key, Outcome]):
    """The flights of one process. For one thread: the event loop's."""

    def __init__(self) -> None:
        self._waiting: dict[Key, list[Callable[[Outcome], None]]] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def join(self, key: Key, land: Callable[[Outcome], None]) -> bool:
        """Have land called with the key's outcome.

        True when no flight was under way: the caller must start one, and end it
        with `land`, whatever happens.
        """
        if (waiting := self._waiting.get(key)) is not None:
            waiting.append(land)
            return False
        self._waiting[key] = [land]
        return True

    def land(self, key: Key, outcome: Outcome) -> None:
        """End the flight: tell everyone who joined it, in order."""
        # Out of the dict first: one who is told may ask again, and must fly anew.
        for land in self._waiting.pop(key):
            land(outcome)
