"""Leases: who, among many processes, may compute a key.

    HostLeases    for the processes of a host: locks on bytes of a file in shared memory
    FleetLeases   for all hosts: names in the nearest shared tier, which expire

A lease ends when the answer can be read, when its holder releases it or dies, and at
last when its time is over. A lease that cannot be acquired for other reasons counts
as acquired: to compute twice is only a waste.
"""

import asyncio
import fcntl
import os
from collections.abc import Collection
from pathlib import Path
from time import monotonic
from typing import Protocol

from gomlx.cache.local import Local
from gomlx.cache.remote.tier import Remote

_PREFIX = b"gomlx:1:lease:"
_LOOK_SECONDS = 1.0
_NO_FILE = -1


class Leases(Protocol):
    """Who may compute a key."""

    async def acquire(
        self, keys: Collection[bytes], lease_seconds: float
    ) -> Collection[bytes]:
        """Return those keys whose lease is ours now, for so long."""

    def release(self, keys: Collection[bytes]) -> None:
        """Give back the leases of those keys that are ours."""


class HostLeases:
    """POSIX record locks: the kernel frees those of a process that dies, at once.

    A key's lock is the byte at the offset that its first bytes are. Opened once a
    process, since closing any descriptor of the file frees all of its locks, and again
    only when the file was removed or replaced.
    """

    def __init__(self, path: Path, local: Local) -> None:
        self._path = path
        self._file = _opened(path)
        self._held: set[bytes] = set()
        self._look_at = monotonic() + _LOOK_SECONDS
        local.queue.on_removed(self.release)

    async def acquire(
        self, keys: Collection[bytes], lease_seconds: float
    ) -> Collection[bytes]:
        if (now := monotonic()) >= self._look_at and not self._held:
            self._look_at = now + _LOOK_SECONDS
            self._look()
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
        except OSError:  # no more locks, or no file: compute
            return True
        self._held.add(key)
        return True

    def _look(self) -> None:
        """Open the file that has taken the place of ours."""
        try:
            if os.path.samestat(os.fstat(self._file), self._path.stat()):
                return
        except OSError:
            pass  # either is gone
        if self._file != _NO_FILE:
            os.close(self._file)
        self._file = _opened(self._path)


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return _NO_FILE


def _offset(key: bytes) -> int:
    return int.from_bytes(key[:8], "big") >> 1


class FleetLeases:
    """Names that the nearest shared tier sets unless they are there, and expires."""

    def __init__(self, remote: Remote) -> None:
        self._leases = remote.leases
        self._held: dict[bytes, float] = {}  # key → when it expires, in loop time
        remote.writes.queue.on_removed(self._release_names)

    async def acquire(
        self, keys: Collection[bytes], lease_seconds: float
    ) -> Collection[bytes]:
        # The time before the command: the lease expires no earlier.
        expiry = asyncio.get_running_loop().time() + lease_seconds
        acquired = await self._leases.acquire(_names(keys), lease_seconds)
        if acquired is None:
            return keys
        ours = [key for key, is_ours in zip(keys, acquired, strict=True) if is_ours]
        self._held.update(dict.fromkeys(ours, expiry))
        return ours

    def release(self, keys: Collection[bytes]) -> None:
        if not self._held:
            return
        now = asyncio.get_running_loop().time()
        expiries = {key: self._held.pop(key) for key in keys if key in self._held}
        # One that has expired may be another host's by now.
        if ours := [key for key, expiry in expiries.items() if now < expiry]:
            self._leases.release(_names(ours))

    def _release_names(self, names: Collection[bytes]) -> None:
        """Release the keys of values; a value's name ends in its key's hex digits."""
        if self._held:
            self.release([bytes.fromhex(name[-32:].decode()) for name in names])


def _names(keys: Collection[bytes]) -> list[bytes]:
    return [_PREFIX + key.hex().encode() for key in keys]
