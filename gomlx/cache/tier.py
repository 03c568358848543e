"""The protocol of a tier."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tier(Protocol):
    """One level of the cache. A miss is absence from the returned dict."""

    name: str

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are known and not expired."""

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Keep values, each for so many seconds and never longer.

        The time is the item's, not the tier's: what was found in a farther tier lives
        on only as long as it would have there. Called with none now and then, so that
        a tier may tidy up.
        """

    def close(self) -> None:
        """Let go of connections and maps; nothing may be called afterwards."""
