"""L1: an LMDB environment in shared memory, one per datastore and host.

Layout of a store, a directory with LMDB's data.mdb and lock.mdb:

    table "a", "b"    key (16 bytes) → expiry (8 bytes, a little-endian double, seconds
                      since 1970) + answer
    table "meta"      "young" → b"a" or b"b": where new entries go

Two generations bound the space. Entries go to the young table; when it has its share
of the pages, the old one is dropped whole and the two change roles. What is asked for
while it is in the old table is written to the young one again, so hot entries live
on. Readers look into both tables: an entry is right wherever it is found, because its
key names the version and the whole question.

Safe: any number of processes, and the death of any of them at any moment (LMDB's
pages are copied on write, its locks are robust). Not safe: opening it before a fork,
or twice in one process.
"""

import os
import shutil
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb

from gomlx.errors import StoreUnavailable, TooLarge

_EXPIRY = struct.Struct("<d")
_TABLES = (b"a", b"b")
# A generation's share of the pages. The rest is for pages that a transaction copies
# and for those that readers still hold.
_GENERATION_SHARE = 0.4
_LARGEST_SHARE = 0.35  # of the store, that one answer may take
_MAX_READERS = 1024
_AGAIN_BYTES = 1 << 20


def create_store(directory: Path, size_bytes: int) -> None:
    """Make an empty store and reserve all of its space.

    Raises StoreUnavailable when the file system has too little: writing past its
    end later would be a SIGBUS instead of an error.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True, mode=0o700)
    free = shutil.disk_usage(directory).free
    try:
        if free < size_bytes:
            raise OSError("too little space")
        _environment(directory, size_bytes).close()
        with (directory / "data.mdb").open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
    except (OSError, lmdb.Error) as error:
        shutil.rmtree(directory, ignore_errors=True)
        raise StoreUnavailable(
            f"{directory.parent}: cannot reserve {size_bytes >> 20} MB of shared "
            f"memory, {free >> 20} MB are free ({error}); lower memory_mb of the "
            "datastore, or give /dev/shm more (docker run --shm-size=…)"
        ) from None


def _environment(directory: Path, size_bytes: int) -> lmdb.Environment:
    environment = lmdb.open(
        str(directory),
        map_size=size_bytes,
        max_dbs=len(_TABLES) + 1,
        max_readers=_MAX_READERS,
        mode=0o600,
        writemap=True,  # the file is memory anyway
        sync=False,
        metasync=False,
    )
    for table in (*_TABLES, b"meta"):
        environment.open_db(table)
    return environment


class SharedMemory:
    """A tier over one store that `create_store` has made."""

    name = "L1"

    def __init__(self, directory: Path, clock: Callable[[], float] = time.time) -> None:
        self._size = (directory / "data.mdb").stat().st_size
        self._environment = _environment(directory, self._size)
        self._environment.reader_check()  # forget the readers that were killed
        self._a, self._b, self._meta = (
            self._environment.open_db(table) for table in (*_TABLES, b"meta")
        )
        self._clock = clock
        self._page_bytes = self._environment.stat()["psize"]
        self._max_pages = int(self._size * _GENERATION_SHARE / self._page_bytes)
        self._tables = (self._a, self._b)  # young, old; replaced as one
        self._looked = 0.0  # when _tables was read
        self._again: dict[bytes, bytes] = {}  # guarded by _lock, as is its size
        self._again_bytes = 0
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are known; never waits for a writer."""
        now = self._clock()
        found = {}
        with self._environment.begin() as transaction:
            if now > self._looked + 1:  # who only reads must learn of rotations too
                self._looked = now
                self._tables = self._generations(transaction)
            young, old = self._tables
            for key in keys:
                entry = transaction.get(key, db=young)
                if entry is None:
                    entry = transaction.get(key, db=old)
                    if entry is None:
                        continue
                    if _EXPIRY.unpack_from(entry)[0] > now:
                        self._keep(key, entry)
                if _EXPIRY.unpack_from(entry)[0] > now:
                    found[key] = entry[_EXPIRY.size :]
        return found

    def set_many(self, items: Mapping[bytes, tuple[bytes, float]]) -> None:
        """Write answers with their seconds to live; again those found in the old table.

        Blocks while another process writes: call it in a thread. Raises TooLarge,
        after writing the others, for answers that would push out most of the rest.
        """
        now = self._clock()
        with self._lock:
            again, self._again, self._again_bytes = self._again, {}, 0
        entries = again | {
            key: _EXPIRY.pack(now + seconds) + value
            for key, (value, seconds) in items.items()
        }
        largest = int(self._size * _LARGEST_SHARE)
        fitting = {k: entry for k, entry in entries.items() if len(entry) <= largest}
        for part in _parts(fitting, self._max_pages * self._page_bytes // 2):
            self._write_with_room(part)
        if len(fitting) < len(entries):
            raise TooLarge(f"an answer of over {largest} bytes; raise memory_mb")

    def close(self) -> None:
        self._environment.close()

    def _keep(self, key: bytes, entry: bytes) -> None:
        """Have an entry of the old generation written to the young one."""
        with self._lock:
            if self._again_bytes < _AGAIN_BYTES and key not in self._again:
                self._again[key] = entry
                self._again_bytes += len(entry)

    def _write_with_room(self, entries: Mapping[bytes, bytes]) -> None:
        for _ in _TABLES:
            try:
                self._write(entries)
                return
            except lmdb.MapFullError:
                self._make_room()
        self._write(entries)

    def _write(self, entries: Mapping[bytes, bytes]) -> None:
        with self._environment.begin(write=True) as transaction:
            young, _ = self._tables = self._generations(transaction)
            transaction.cursor(young).putmulti(entries.items())
            used = transaction.stat(young)
            pages = used["leaf_pages"] + used["branch_pages"] + used["overflow_pages"]
            if pages >= self._max_pages:
                self._rotate(transaction)

    def _make_room(self) -> None:
        self._environment.reader_check()  # the dead may hold pages
        with self._environment.begin(write=True) as transaction:
            self._rotate(transaction)
        # LMDB uses the pages that a transaction freed from the next but one on.
        with self._environment.begin(write=True) as transaction:
            transaction.put(b"nudge", os.urandom(8), db=self._meta)

    def _rotate(self, transaction: lmdb.Transaction) -> None:
        """Drop the old generation; the young one is old from now on."""
        young, old = self._generations(transaction)
        transaction.drop(old, delete=False)
        name = b"b" if old is self._b else b"a"
        transaction.put(b"young", name, db=self._meta)
        self._tables = (old, young)

    def _generations(self, transaction: lmdb.Transaction) -> tuple[Any, Any]:
        """Return the young and the old table: another process may have rotated."""
        is_b = transaction.get(b"young", db=self._meta) == b"b"
        return (self._b, self._a) if is_b else (self._a, self._b)


def _parts(
    entries: Mapping[bytes, bytes], most_bytes: int
) -> Iterator[dict[bytes, bytes]]:
    """Cut entries into transactions that leave room for what they copy."""
    part: dict[bytes, bytes] = {}
    size = 0
    for key, entry in entries.items():
        if part and size + len(entry) > most_bytes:
            yield part
            part, size = {}, 0
        part[key] = entry
        size += len(key) + len(entry)
    if part:
        yield part
