"""The hit ratio of L1 beside that of an exact LRU."""

import random
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import lmdb

from gomlx.cache.shared_memory.store import environment
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.parts.l1_stores import (
    TTL_SECONDS,
    answer,
    fresh_store,
    key,
    temporary_folder,
)

_BATCH = 50


class Ratios(NamedTuple):
    """The shares of look-ups that hit. entries: the size of the exact LRU."""

    store: float
    lru: float
    entries: int


def hit_ratios(megabytes: int, lookups: int, seed: int, skew: float = 0.9) -> Ratios:
    """Send the same Zipf stream to both. Its first half only warms them."""
    entries = entries_that_fit(megabytes)
    keys = 10 * entries
    weights = list(accumulate((rank + 1) ** -skew for rank in range(keys)))
    stream = random.Random(seed).choices(range(keys), cum_weights=weights, k=lookups)
    with fresh_store(megabytes) as store:
        hits = _hits_of_store(store, stream)
    measured = lookups - lookups // 2
    return Ratios(hits / measured, _hits_of_lru(entries, stream) / measured, entries)


def entries_that_fit(megabytes: int) -> int:
    """Return how many entries one table of LMDB holds in so many bytes."""
    entry = bytes(8) + answer(0) + bytes(4)
    number = 0
    with temporary_folder() as folder:
        try:
            with environment(folder, megabytes << 20) as opened:
                table = opened.open_db(b"0a")
                while True:
                    with opened.begin(write=True, db=table) as transaction:
                        for number in range(number, number + 10):  # noqa: B020
                            transaction.put(key(number), entry)
        except lmdb.MapFullError:
            return number


def _hits_of_store(store: SharedMemory, stream: Sequence[int]) -> int:
    hits = 0
    keys = {number: key(number) for number in set(stream)}
    for start in range(0, len(stream), _BATCH):
        batch = stream[start : start + _BATCH]
        found = store.get_many([keys[number] for number in batch])
        missing = {n: answer(n) for n in batch if keys[n] not in found}
        store.set_many({keys[n]: (value, TTL_SECONDS) for n, value in missing.items()})
        if start >= len(stream) // 2:
            hits += len(batch) - len(missing)
    return hits


def _hits_of_lru(entries: int, stream: Sequence[int]) -> int:
    hits = 0
    kept: OrderedDict[int, None] = OrderedDict()
    for position, number in enumerate(stream):
        if number in kept:
            kept.move_to_end(number)
            hits += position >= len(stream) // 2
        else:
            kept[number] = None
            if len(kept) > entries:
                kept.popitem(last=False)
    return hits
