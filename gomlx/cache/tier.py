"""The protocols of tiers, and of what is kept in them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Protocol


class Tier(Protocol):
    """A level of the cache in this host. A miss is absence from the returned dict."""

    name: str

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the values of those keys that are there and have not expired."""

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Write values, each with its seconds to live at most; may block for long."""

    def set_some(
        self, items: Mapping[bytes, tuple[bytes, float]]
    ) -> Collection[bytes] | None:
        """Write the first values, as many as take a moment, and return their keys.

        Never blocks: returns no keys when that has to wait for another process, and
        None when only `set_many` can do it. Called without values now and then, so that
        a tier may tidy up.
        """

    def close(self) -> None:
        """Close files and maps; nothing may be called afterwards."""


class TierUsage(NamedTuple):
    """What a shared tier holds, all that is not ours included.

    size_bytes: how much it may; None: it has no limit. evicted_entries: dropped for
    room, since it was started.
    """

    size_bytes: int | None
    bytes: int
    entries: int
    evicted_entries: int


class SharedTier(Protocol):
    """A level of the cache that hosts share. Every method may raise TierFailed."""

    async def get_many(self, names: Sequence[bytes]) -> list[bytes | None]:
        """Return each name's value, None where there is none."""

    async def set_many(self, items: Mapping[bytes, tuple[bytes, int]]) -> None:
        """Write values, each with its milliseconds to live."""

    async def remaining_ttl(self, names: Sequence[bytes]) -> list[int]:
        """Return each value's milliseconds to live; 0 where there is none."""

    async def delete(self, names: Sequence[bytes]) -> None:
        """Delete values."""

    async def acquire(self, names: Sequence[bytes], milliseconds: int) -> list[bool]:
        """Acquire leases that expire; return True for each that was free."""

    async def usage(self) -> TierUsage:
        """Return how much it holds."""

    async def ping(self) -> None:
        """Connect, if need be, and check that the other side answers."""

    async def close(self) -> None:
        """Close connections; nothing may be called afterwards."""


class Namespace(Protocol):
    """One version's part of the shared tiers."""

    def name(self, key: bytes) -> bytes:
        """Return the name of a key's value; it ends in the key's hex digits."""

    def is_answer(self, value: bytes) -> bool:
        """Return False for a value that this version cannot have written."""


class Hit(NamedTuple):
    """An answer that was found, and the name of the tier that had it."""

    answer: bytes
    tier: str


OnFound = Callable[[bytes, Hit | None], None]
