"""The protocols of tiers, and of what is kept in them."""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class Tier(Protocol):
    """One level of the cache in this host. A miss is absence from the returned dict."""

    name: str

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are known and not expired."""

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Keep values, each for its seconds to live at most; may block for long."""

    def set_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        """Keep the first of values, as many as take a moment, and return their keys.

        Never blocks: returns no keys when that has to wait for another process, and
        None when only `set_many` can do it. Called with no values now and then, so that
        a tier may tidy up.
        """

    def close(self) -> None:
        """Let go of connections and maps; nothing may be called afterwards."""


class SharedTier(Protocol):
    """A level of the cache that other hosts share. All methods may raise TierFailed."""

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return each name's value, None where there is none."""

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Keep values, each for its milliseconds to live."""

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[int]:
        """Return each value's milliseconds to live; 0 for what is gone."""

    async def delete(self, names: Sequence[bytes]) -> None:
        """Forget values."""

    async def take(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        """Take leases that end by themselves; True for each that nobody held."""

    async def ping(self) -> None:
        """Connect, if need be, and see whether somebody is there."""

    async def close(self) -> None:
        """Let go of connections; nothing may be called afterwards."""


class Namespace(Protocol):
    """One version's part of the shared tiers."""

    def name(self, key: bytes) -> bytes:
        """Return the name of a key's value; it ends in the key's hex digits."""

    def is_answer(self, value: bytes) -> bool:
        """False for what somebody else must have put there."""


class Hit(NamedTuple):
    """A value that was known, and to which tier."""

    answer: bytes
    tier: str
