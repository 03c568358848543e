"""How L1 divides its bytes: python -m loadtests.l1.shares

Prints the hit ratio of a Zipf stream for several shares of the index, of the log of new
entries, and of what counts as old, for short, middling and long answers, and beside it
that of an exact LRU of as many entries as the file has room for without an index. Last,
what large answers cost the others: one of three, every thousand look-ups.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from gomlx.cache.shared_memory.appender import Appender
from gomlx.cache.shared_memory.entry import HEAD_BYTES, encode
from gomlx.cache.shared_memory.finder import Finder
from gomlx.cache.shared_memory.geometry import Geometry, Shares
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.ring import Ring
from loadtests.l1.hit_ratio import Lru
from loadtests.l1.stores import key, temporary_folder

MEGABYTES = 2
SKEW = 0.9
_BATCH = 20
_LARGE = 10**9  # and more: the numbers of large answers
_LARGE_SHARES = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)  # of the log of kept entries
_OTHERS = {
    "index": (0.03, 0.06, 0.09, 0.16, 0.2, 0.25),
    "new": (0.03, 0.05, 0.2, 0.3),
    "old_kept": (0.5, 0.65, 0.9, 0.95),
    "old_new": (0.0, 0.3, 0.8),
}


def zipf(keys: int, lookups: int) -> list[int]:
    """Return a stream of key numbers."""
    weights = list(accumulate((rank + 1) ** -SKEW for rank in range(keys)))
    return random.Random(1).choices(range(keys), cum_weights=weights, k=lookups)


def hit_ratio(
    stream: Sequence[int], answer: bytes, shares: Shares, large: bytes = b""
) -> float:
    """Send a stream to a ring so divided. Its first half only warms it.

    large: the answer of numbers from _LARGE on, which are not counted.
    """
    with temporary_folder() as folder:
        ring = _ring(folder / "ring", shares)
        refresh = RefreshQueue()
        finder = Finder(ring, refresh, InProcessCache(max_entries=0), lambda: 0.0)
        appender = Appender(ring)
        hits = 0
        for start in range(0, len(stream), _BATCH):
            numbers = stream[start : start + _BATCH]
            keys = [key(number) for number in numbers]
            found = finder.get_many(keys)
            new = {
                one: encode(one, 1.0, large if number >= _LARGE else answer)
                for one, number in zip(keys, numbers, strict=True)
                if one not in found
            }
            appender.append(refresh.drain() | new)
            if start >= len(stream) // 2:
                hits += sum(key(n) in found for n in numbers if n < _LARGE)
        ring.close()
    return hits / sum(number < _LARGE for number in stream[len(stream) // 2 :])


def _ring(path: Path, shares: Shares) -> Ring:
    geometry = Geometry.of(MEGABYTES << 20, shares)
    path.write_bytes(geometry.header().ljust(MEGABYTES << 20, b"\0"))
    return Ring(path, geometry)


def variants() -> Iterator[tuple[str, Shares]]:
    """Yield the shares as they are, and with one changed."""
    yield "as it is", Shares()
    for name, values in _OTHERS.items():
        for value in values:
            yield f"{name} {value}", replace(Shares(), **{name: value})


def report() -> Iterator[str]:
    """Yield the lines of the report."""
    answers = [bytes(20), bytes(100), bytes(1000)]
    sizes = [len(encode(bytes(16), 0.0, answer)) for answer in answers]
    fitting = [(MEGABYTES << 20) // size for size in sizes]
    streams = [zipf(10 * entries, 25 * entries) for entries in fitting]
    yield f"{'answers of':16} 20 B   100 B  1000 B"
    lru = [_of_lru(*pair) for pair in zip(sizes, streams, strict=True)]
    yield _line("exact LRU", lru)
    for name, shares in variants():
        pairs = zip(streams, answers, strict=True)
        yield _line(name, [hit_ratio(*pair, shares) for pair in pairs])
    for share in _LARGE_SHARES:
        ratio = beside_large(streams[1], answers[1], share)
        yield f"100 B beside large answers of {share:.0%} of the log  {ratio:.4f}"


def _of_lru(entry_bytes: int, stream: Sequence[int]) -> float:
    lru = Lru(MEGABYTES << 20, [entry_bytes])
    half = len(stream) // 2
    lru.look_up(stream[:half])
    return lru.look_up(stream[half:]) / (len(stream) - half)


def beside_large(stream: Sequence[int], answer: bytes, share: float) -> float:
    """Return the hit ratio while large answers are looked up now and then.

    share: of the log of kept entries, for each of them.
    """
    room = Geometry.of(MEGABYTES << 20).kept.size
    large = bytes(int(room * share) - 2 * HEAD_BYTES)
    mixed = [*stream]
    for turn, position in enumerate(range(0, len(mixed), 1000)):
        mixed[position] = _LARGE + turn % 3
    return hit_ratio(mixed, answer, Shares(), large)


def _line(name: str, ratios: Sequence[float]) -> str:
    return f"{name:14}" + "".join(f"  {ratio:.4f}" for ratio in ratios)


def main() -> None:
    """Print the report, a line as soon as it is measured."""
    for line in report():
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
