"""The protocols of tiers: one in the memory of a host, one that hosts share."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tier(Protocol):
    """One level of the cache. A miss is absence from the returned dict."""

    name: str

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are known and not expired."""

    def set_many(self, items: Mapping[bytes, bytes]) -> None:
        """Keep values for as long as the tier's time to live says.

        Called with none now and then, so that a tier may tidy up.
        """

    def close(self) -> None:
        """Let go of connections and maps; nothing may be called afterwards."""


class SharedTier(Protocol):
    """A level of the cache that other hosts share. Every method may raise TierFailed.

    Names are whole keys of the other side. Answers come in the order of the names.
    """

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return the values of names; None for what is not there."""

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Keep values, each for so many milliseconds."""

    async def left(self, names: Sequence[bytes]) -> list[int]:
        """Return the milliseconds that each has to live: 0 for what is gone."""

    async def delete(self, names: Sequence[bytes]) -> None:
        """Forget names."""

    async def take(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        """Take a lease on each name that nobody holds; tell which were got."""

    async def ping(self) -> None:
        """Ask for a sign of life."""

    async def close(self) -> None:
        """Let go of connections; nothing may be called afterwards."""
