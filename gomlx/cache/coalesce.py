"""One running computation per key among many processes.

Who takes a key's lease computes it; the others look again and again for its answer.
A lease ends when the answer can be read, when its holder gives up or dies, and at last
by its time: then somebody else computes. Waiting is bounded, and a lease that cannot
be had for other reasons counts as taken: computing twice is only a waste.

    HostLeases    for the processes of a host: locks on bytes of a file in shared memory
    FleetLeases   for all hosts: keys in the nearest shared tier that end by themselves
"""

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path
from typing import Protocol

from gomlx.cache.local import Local
from gomlx.cache.remote import Remote
from gomlx.cache.tier import Hit, Namespace

_LEASE = b"gomlx:1:lease:"
_FIRST_POLL, _LAST_POLL = 0.002, 0.02  # seconds


class Leases(Protocol):
    """Who may compute a key."""

    async def take(self, keys: Collection[bytes], seconds: float) -> Collection[bytes]:
        """Return those keys whose lease is now ours, for so long."""

    def release(self, keys: Collection[bytes]) -> None:
        """Give back those that are."""


class HostLeases:
    """POSIX record locks: the kernel frees those of a process that dies, at once.

    A key's lock is the byte at the offset that its first bytes are. Opened once a
    process: closing any descriptor of the file would free all of its locks.
    """

    def __init__(self, path: Path, local: Local) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        self._held: set[bytes] = set()
        local.when_written = self.release

    async def take(self, keys: Collection[bytes], seconds: float) -> Collection[bytes]:
        return [key for key in keys if self._lock(key)]

    def release(self, keys: Collection[bytes]) -> None:
        if not self._held:
            return
        for key in self._held.intersection(keys):
            self._held.discard(key)
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _offset(key))

    def _lock(self, key: bytes) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _offset(key))
        except BlockingIOError:
            return False
        except OSError:  # no more locks: compute
            return True
        self._held.add(key)
        return True


def _offset(key: bytes) -> int:
    return int.from_bytes(key[:8], "big") >> 1


class FleetLeases:
    """Keys that the nearest shared tier sets if they are not there, and forgets."""

    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._held: dict[bytes, float] = {}  # until when, in the loop's time
        remote.writes.when_gone = self._written

    async def take(self, keys: Collection[bytes], seconds: float) -> Collection[bytes]:
        names = [_LEASE + key.hex().encode() for key in keys]
        until = asyncio.get_running_loop().time() + seconds  # it ends no earlier
        taken = await self._remote.take(names, seconds)
        if taken is None:
            return keys
        ours = [key for key, is_ours in zip(keys, taken, strict=True) if is_ours]
        self._held.update(dict.fromkeys(ours, until))
        return ours

    def release(self, keys: Collection[bytes]) -> None:
        if not self._held:
            return
        now = asyncio.get_running_loop().time()
        ends = {key: self._held.pop(key) for key in keys if key in self._held}
        # One that has ended may be somebody else's by now.
        if ours := [key for key, until in ends.items() if now < until]:
            self._remote.release([_LEASE + key.hex().encode() for key in ours])

    def _written(self, names: Collection[bytes]) -> None:
        if self._held:
            self.release([bytes.fromhex(name[-32:].decode()) for name in names])


class Coalescer:
    """Has one process of many compute a key, and the others wait for the answer.

    seconds is how long a lease lasts at most. look finds the answers of others where
    they appear first.
    """

    def __init__(
        self,
        leases: Leases,
        seconds: float,
        look: Callable[[Namespace, Collection[bytes]], Awaitable[dict[bytes, Hit]]],
    ) -> None:
        self.seconds = seconds
        self._leases, self._look = leases, look

    async def settle(
        self,
        space: Namespace,
        keys: Collection[bytes],
        until: float,
        complete: Callable[[bytes, Hit | None], None],
    ) -> None:
        """Have land called for each key: with another's answer, or None: compute it.

        Whoever computes calls `release` if nothing comes of it; an answer that is set
        releases by itself.
        """
        loop = asyncio.get_running_loop()
        waiting, pause = dict.fromkeys(keys), _FIRST_POLL
        while waiting:
            taken = set(await self._leases.take(waiting, self.seconds))
            # Also for those: the holder before us may have been done just now.
            found = await self._look(space, waiting)
            self._leases.release(taken & found.keys())
            for key in [k for k in waiting if k in taken or k in found]:
                del waiting[key]
                complete(key, found.get(key))
            if loop.time() >= until:
                break
            if waiting:
                await asyncio.sleep(min(pause, until - loop.time()))
                pause = min(pause * 1.5, _LAST_POLL)
        for key in waiting:
            complete(key, None)

    def release(self, key: bytes) -> None:
        """Nothing comes of a key: let others try."""
        self._leases.release((key,))
