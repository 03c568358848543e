"""Who has a place among the connections of a worker, and who makes room.

A worker has so many connections at most. Once all are open, a new one takes the place
of the one that has waited longest for its peer: for a request, for the rest of one, for
a line of a stream, or for its answers to be read. One whose request is being answered
keeps its place. While one address has more than half of all, it is its connections that
make room, so that it cannot take the places of others; not if it is a trusted proxy,
whose connections are those of many clients. If none waits, there is no room.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable
from operator import attrgetter
from typing import NamedTuple, Protocol

log = logging.getLogger(__name__)

# Looks at all connections take 3 ms for 10,000, and a tenth of the time at most.
_LOOK_SHARE = 0.1
_WARNING_SECONDS = 60.0
_ADMIN_CONNECTIONS = 256  # however many the endpoint's own listener has


class PlaceHolder(Protocol):
    """One connection, on any protocol."""

    @property
    def address(self) -> str:
        """The peer's; "" without one."""

    def waits_since(self) -> float | None:
        """When it began to wait for its peer, by time.monotonic.

        None: a request of its is being answered, or it has ended.
        """

    def make_room(self) -> None:
        """Close it."""


class _Waiting(NamedTuple):
    """A connection, and when it began to wait, as far as is known."""

    since: float
    holder: PlaceHolder


class Places:
    """The places of one worker, those of all protocols.

    count adds to the number of open connections, and returns it.
    """

    def __init__(
        self,
        most: int,
        count: Callable[[int], int],
        is_exempt: Callable[[str], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """most: so many may be open. is_exempt: of an address: it may have them all."""
        self.count = count
        self._most = most
        self._is_exempt = is_exempt
        self._clock = clock
        self._holders: dict[str, set[PlaceHolder]] = {}
        self._crowd: str | None = None  # the address that has more than its share
        # Who waited at the last look, the longest first, and who has come since.
        self._waiting: deque[_Waiting] = deque()
        self._looks_again = float("-inf")
        self._warned = float("-inf")

    def enter(self, holder: PlaceHolder) -> None:
        """Note a connection: a new one, or one that goes on by another protocol."""
        address = holder.address
        holders = self._holders.get(address)
        if holders is None:
            holders = self._holders[address] = set()
        holders.add(holder)
        if self._is_over_share(address) and not self._is_exempt(address):
            self._crowd = address

    def __len__(self) -> int:
        """How many connections have a place."""
        return sum(map(len, self._holders.values()))

    def leave(self, holder: PlaceHolder) -> None:
        """Forget a connection that has ended, or goes on by another protocol."""
        address = holder.address
        holders = self._holders.get(address)
        if holders is None:
            return
        holders.discard(holder)
        if address == self._crowd and not self._is_over_share(address):
            self._crowd = None
        if not holders:
            del self._holders[address]

    def has_room(self, count: int, newcomer: PlaceHolder) -> bool:
        """Close another connection, if so many are open; return if there is room."""
        is_full = count > self._most
        longest = self._longest(newcomer) if is_full else None
        if is_full and longest is None and self._look():
            longest = self._longest(newcomer)
        if is_full or self._waiting:
            self._waiting.append(_Waiting(self._clock(), newcomer))
        if len(self._waiting) > 2 * self._most:
            self._waiting.clear()  # most of them are long gone
        if longest is not None:
            longest.make_room()
        return longest is not None or not is_full

    def _longest(self, newcomer: PlaceHolder) -> PlaceHolder | None:
        """Return who has waited longest, of those that may have to make room."""
        waiting = self._waiting
        for _ in range(2 * len(waiting)):
            if not waiting:
                break
            since, holder = waiting.popleft()
            now_since = holder.waits_since()
            may_stay = self._crowd not in (None, holder.address)
            if now_since is None or may_stay or holder is newcomer:
                continue
            if now_since <= since:
                return holder
            waiting.append(_Waiting(now_since, holder))  # it was active meanwhile
        return None

    def _is_over_share(self, address: str) -> bool:
        return 2 * len(self._holders[address]) > self._most

    def _look(self) -> bool:
        """Look who waits; return whether anybody does, unless that was just done."""
        now = self._clock()
        if now < self._looks_again:
            return False
        found = [
            _Waiting(since, holder)
            for holder in self._candidates()
            if (since := holder.waits_since()) is not None
        ]
        self._waiting = deque(sorted(found, key=attrgetter("since")))
        ended = self._clock()
        self._looks_again = ended + (ended - now) / _LOOK_SHARE
        self._warn(now)
        return bool(found)

    def _candidates(self) -> Iterable[PlaceHolder]:
        if self._crowd is not None:
            return self._holders[self._crowd]
        return (holder for holders in self._holders.values() for holder in holders)

    def _warn(self, now: float) -> None:
        if now - self._warned < _WARNING_SECONDS:
            return
        self._warned = now
        crowd = self._crowd
        whose = "" if crowd is None else f" of {crowd}, which has over half,"
        text = "all %d connections are open: idle ones%s make room for new ones"
        log.warning(text, self._most, whose)


def admin_places() -> Places:
    """Return the places of an admins' listener, which others cannot take."""
    places = Places(_ADMIN_CONNECTIONS, lambda change: len(places), lambda peer: True)
    return places
