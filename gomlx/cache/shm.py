"""L1: an LMDB environment in shared memory, one per datastore and host.

Layout of a store, a directory with LMDB's data.mdb and lock.mdb:

    table "a", "b"    key (16 bytes) → expiry (4 bytes, little-endian, seconds since
                      1970) + answer
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
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lmdb

from gomlx.errors import StoreUnavailable

_EXPIRY = struct.Struct("<I")
_TABLES = (b"a", b"b")
# A generation's share of the pages. The rest is for pages that a transaction copies
# and for those that readers still hold.
_GENERATION_SHARE = 0.4
_MAX_READERS = 1024


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

    def __init__(
        self,
        directory: Path,
        ttl_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._size = (directory / "data.mdb").stat().st_size
        self._environment = _environment(directory, self._size)
        self._environment.reader_check()  # forget the readers that were killed
        self._a, self._b, self._meta = (
            self._environment.open_db(table) for table in (*_TABLES, b"meta")
        )
        self._ttl, self._clock = ttl_seconds, clock
        page_bytes = self._environment.stat()["psize"]
        self._max_pages = int(self._size * _GENERATION_SHARE / page_bytes)
        self._tables = (self._a, self._b)  # young, old; replaced as one
        self._again: dict[bytes, bytes] = {}  # guarded by _lock
        self._lock = threading.Lock()

    def get_many(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """Return the answers that are known; never waits for a writer."""
        now = self._clock()
        young, old = self._tables
        found = {}
        with self._environment.begin() as transaction:
            for key in keys:
                entry = transaction.get(key, db=young)
                if entry is None:
                    entry = transaction.get(key, db=old)
                    if entry is None:
                        continue
                    self._keep(key, entry)
                if _EXPIRY.unpack_from(entry)[0] > now:
                    found[key] = entry[_EXPIRY.size :]
        return found

    def set_many(self, items: Mapping[bytes, bytes]) -> None:
        """Write answers. Blocks while another process writes: call it in a thread."""
        expiry = _EXPIRY.pack(int(self._clock() + self._ttl) & 0xFFFFFFFF)
        with self._lock:
            again, self._again = self._again, {}
        entries = again | {key: expiry + value for key, value in items.items()}
        try:
            self._write(entries)
        except lmdb.MapFullError:
            # The dead may hold pages; the old generation surely does.
            self._environment.reader_check()
            self._rotate()
            self._write(entries)

    def close(self) -> None:
        self._environment.close()

    def _keep(self, key: bytes, entry: bytes) -> None:
        with self._lock:
            if len(self._again) < 10_000:
                self._again[key] = entry

    def _write(self, entries: Mapping[bytes, bytes]) -> None:
        with self._environment.begin(write=True) as transaction:
            young, _ = self._tables = self._generations(transaction)
            transaction.cursor(young).putmulti(entries.items())
            used = transaction.stat(young)
        pages = used["leaf_pages"] + used["branch_pages"] + used["overflow_pages"]
        if pages >= self._max_pages:
            self._rotate()

    def _rotate(self) -> None:
        """Drop the old generation; the young one is old from now on."""
        with self._environment.begin(write=True) as transaction:
            young, old = self._generations(transaction)
            transaction.drop(old, delete=False)
            name = b"b" if old is self._b else b"a"
            transaction.put(b"young", name, db=self._meta)
            self._tables = (old, young)

    def _generations(self, transaction: lmdb.Transaction) -> tuple[Any, Any]:
        """Return the young and the old table: another process may have rotated."""
        is_b = transaction.get(b"young", db=self._meta) == b"b"
        return (self._b, self._a) if is_b else (self._a, self._b)
