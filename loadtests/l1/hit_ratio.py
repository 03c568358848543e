"""The hit ratio of L1 beside that of an exact LRU.

    python -m loadtests.l1.hit_ratio [MB [KEYS [BYTES]]]

Sends a Zipf(0.9) stream of look-ups to a store (of 64 MB) and to an exact LRU of the
same bytes, which has no index; what is missed is written. KEYS is how many keys there
are, in multiples of what the LRU has room for (10). Answers have so many BYTES (100);
with 0 they have 20, 40, … 1,280. Of twelve look-ups for each entry that fits, ten only
warm both. 1024 MB take ten minutes and 4 GB.
"""

import sys
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gomlx.cache.shared_memory.entry import encode
from gomlx.cache.shared_memory.geometry import BUCKET_BYTES, HEADER_BYTES, UNIT_BYTES
from gomlx.cache.shared_memory.index import KEPT_BYTES, SLOT_BYTES
from gomlx.cache.shared_memory.ring import Ring
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.stores import TTL_SECONDS, fresh_directory

_BATCH = 50
_CHUNK = 1000 * _BATCH
_LOOKUPS = 12  # in multiples of what the LRU has room for
_WARMING = 5 / 6
_SHORTEST = 20
_DOUBLINGS = 7
_KEY = np.uint64(0x9E3779B97F4A7C15)

Numbers = NDArray[np.int64]


class Traffic(NamedTuple):
    """A Zipf stream of numbers below `keys`, and the length of their answers.

    answer_bytes: 0 stands for 20, 40, … 1,280.
    """

    keys: int
    lookups: int
    answer_bytes: int = 100
    seed: int = 1
    skew: float = 0.9

    def chunks(self) -> Iterator[Numbers]:
        """Yield the numbers that are looked up, int64, those that only warm first."""
        weights = np.arange(1, self.keys + 1, dtype=np.float64) ** -self.skew
        total = np.cumsum(weights, out=weights)
        chance = np.random.default_rng(self.seed)
        for begin, end in ((0, self.warming), (self.warming, self.lookups)):
            for start in range(begin, end, _CHUNK):
                size = min(_CHUNK, end - start)
                yield np.searchsorted(total, chance.random(size) * total[-1])

    @property
    def warming(self) -> int:
        """How many look-ups, the first, only warm."""
        return int(self.lookups * _WARMING)

    def answer(self, number: int) -> bytes:
        """Return the answer of a number."""
        return bytes(self.answer_bytes or _SHORTEST << number % _DOUBLINGS)

    def entry_bytes(self) -> list[int]:
        """Return how long entries are, by the remainder of their numbers."""
        numbers = range(_DOUBLINGS)
        return [len(encode(bytes(16), 0.0, self.answer(n))) for n in numbers]


class Ratios(NamedTuple):
    """The shares of look-ups that hit.

    entries: how many the exact LRU has room for, of the mean length. live: how many
    answers the store holds in the end.
    """

    store: float
    lru: float
    entries: int
    live: int


def fitting(megabytes: int, answer_bytes: int = 100) -> int:
    """Return how many entries have as many bytes as a store."""
    lengths = Traffic(0, 0, answer_bytes).entry_bytes()
    return (megabytes << 20) * len(lengths) // sum(lengths)


def hit_ratios(megabytes: int, traffic: Traffic) -> Ratios:
    """Send the same stream to both, and measure its last part."""
    lru = Lru(megabytes << 20, traffic.entry_bytes())
    measured = traffic.lookups - traffic.warming
    store_hits = 0
    lru_hits = 0
    seen = 0
    with fresh_directory(megabytes) as directory:
        store = SharedMemory(directory)
        for numbers in traffic.chunks():
            chunk = numbers.tolist()
            of_store = _look_up(store, chunk, keys_of(numbers), traffic)
            of_lru = lru.look_up(chunk)
            if seen >= traffic.warming:
                store_hits += of_store
                lru_hits += of_lru
            seen += len(chunk)
        store.close()
        live = _live_answers(Ring(directory / "ring"))
    entries = fitting(megabytes, traffic.answer_bytes)
    return Ratios(store_hits / measured, lru_hits / measured, entries, live)


def keys_of(numbers: Numbers) -> list[bytes]:
    """Return the keys of numbers, as evenly spread as digests."""
    words = np.empty((len(numbers), 2), np.uint64)
    mixed = numbers.astype(np.uint64) + np.uint64(1)
    for column in (0, 1):
        mixed = mixed * _KEY
        for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
            mixed = (mixed ^ mixed >> np.uint64(shift)) * np.uint64(factor)
        mixed = mixed ^ mixed >> np.uint64(31)
        words[:, column] = mixed
    data = words.tobytes()
    return [data[start : start + 16] for start in range(0, len(data), 16)]


def _look_up(
    store: SharedMemory, numbers: list[int], keys: list[bytes], traffic: Traffic
) -> int:
    """Look up keys, and write what is missed; return how many hit."""
    hits = 0
    for start in range(0, len(keys), _BATCH):
        batch = keys[start : start + _BATCH]
        found = store.get_many(batch)
        missing = {
            one: (traffic.answer(number), TTL_SECONDS)
            for one, number in zip(batch, numbers[start : start + _BATCH], strict=True)
            if one not in found
        }
        store.set_many(missing)
        hits += sum(one in found for one in batch)
    return hits


class Lru:
    """An exact LRU of as many bytes of entries, without an index.

    entry_bytes: by the remainder of their numbers, as `Traffic` has it.
    """

    def __init__(self, size_bytes: int, entry_bytes: Sequence[int]) -> None:
        self._room = size_bytes
        self._entry_bytes = entry_bytes
        self._kept = OrderedDict[int, None]()

    def look_up(self, numbers: Sequence[int]) -> int:
        """Look up keys, and add what is missed; return how many hit."""
        kept = self._kept
        lengths = self._entry_bytes
        count = len(lengths)
        hits = 0
        for number in numbers:
            if number in kept:
                kept.move_to_end(number)
                hits += 1
                continue
            kept[number] = None
            self._room -= lengths[number % count]
            while self._room < 0:
                oldest, _ = kept.popitem(last=False)
                self._room += lengths[oldest % count]
        return hits


def _live_answers(ring: Ring) -> int:
    """Return how many answers can be found, and close the ring."""
    geometry = ring.geometry
    count = geometry.buckets * BUCKET_BYTES // SLOT_BYTES
    slots = np.frombuffer(ring.memory, "<u8", count, HEADER_BYTES)
    slots = slots.reshape(geometry.buckets, -1)
    kept = KEPT_BYTES // SLOT_BYTES
    live = []
    for log, part in (
        (geometry.kept, slots[:, :kept]),
        (geometry.new, slots[:, kept:]),
    ):
        head = ring.heads[log.head] // UNIT_BYTES
        age = (head - (part >> np.uint64(24)).astype(np.int64)) % log.wrap
        is_live = (age <= log.units) & (part > 0)
        buckets = np.nonzero(is_live)[0]
        tags = part[is_live] & np.uint64(0xFFFFFF)
        live.append(buckets.astype(np.uint64) << np.uint64(24) | tags)
    found = len(np.unique(np.concatenate(live)))
    del slots, part  # they refer to the map
    ring.close()
    return found


def report(megabytes: int, multiple: float = 10, answer_bytes: int = 100) -> str:
    """Return a line: both hit ratios, and what an answer takes."""
    started = perf_counter()
    entries = fitting(megabytes, answer_bytes)
    traffic = Traffic(int(multiple * entries), _LOOKUPS * entries, answer_bytes)
    ratios = hit_ratios(megabytes, traffic)
    return (
        f"{megabytes} MB, answers of {answer_bytes or '20 to 1,280'} bytes, "
        f"{traffic.keys:,} keys, {traffic.lookups:,} look-ups: hit ratio "
        f"{ratios.store:.4f}, an exact LRU of {ratios.entries:,} entries "
        f"{ratios.lru:.4f}; {ratios.live:,} answers, "
        f"{(megabytes << 20) / ratios.live:.0f} bytes each "
        f"({perf_counter() - started:.0f} s)"
    )


if __name__ == "__main__":
    print(report(*map(int, sys.argv[1:] or ["64"])))  # noqa: T201
