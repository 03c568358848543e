"""The hit ratio of L1 beside that of an exact LRU."""

import random
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from gomlx.cache.shared_memory.entry import encode
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.stores import TTL_SECONDS, answer, fresh_store, key

_BATCH = 50
_ENTRY_BYTES = len(encode(key(0), TTL_SECONDS, answer(0)))


class Ratios(NamedTuple):
    """The shares of look-ups that hit. entries: the size of the exact LRU."""

    store: float
    lru: float
    entries: int


def hit_ratios(megabytes: int, lookups: int, seed: int, skew: float = 0.9) -> Ratios:
    """Send the same Zipf stream to both. Its first half only warms them.

    The LRU has as many entries as the file would without an index.
    """
    entries = (megabytes << 20) // _ENTRY_BYTES
    keys = 10 * entries
    weights = list(accumulate((rank + 1) ** -skew for rank in range(keys)))
    stream = random.Random(seed).choices(range(keys), cum_weights=weights, k=lookups)
    with fresh_store(megabytes) as store:
        hits = _hits_of_store(store, stream)
    return Ratios(
        hits / (lookups - lookups // 2), hits_of_lru(entries, stream), entries
    )


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


def hits_of_lru(entries: int, stream: Sequence[int]) -> float:
    """Return the share of hits of an exact LRU in the second half of a stream."""
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
    return hits / (len(stream) - len(stream) // 2)
