"""How L1 divides its bytes: python -m loadtests.l1.shares

Prints the hit ratio of a Zipf stream for several shares of the index, of the log of new
entries, and of what counts as old, for short, middling and long answers, and beside it
that of an exact LRU of as many entries as the file has room for without an index.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

from gomlx.cache.shared_memory.appender import Appender
from gomlx.cache.shared_memory.entry import encode
from gomlx.cache.shared_memory.finder import Finder
from gomlx.cache.shared_memory.geometry import Geometry, Shares
from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.refresh import RefreshQueue
from gomlx.cache.shared_memory.ring import Ring
from loadtests.l1.hit_ratio import hits_of_lru
from loadtests.l1.stores import key, temporary_folder

MEGABYTES = 2
SKEW = 0.9
_BATCH = 20
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


def hit_ratio(stream: Sequence[int], answer: bytes, shares: Shares) -> float:
    """Send a stream to a ring so divided. Its first half only warms it."""
    with temporary_folder() as folder:
        ring = _ring(folder / "ring", shares)
        refresh = RefreshQueue()
        finder = Finder(ring, refresh, InProcessCache(max_entries=0), lambda: 0.0)
        appender = Appender(ring)
        hits = 0
        for start in range(0, len(stream), _BATCH):
            keys = [key(number) for number in stream[start : start + _BATCH]]
            found = finder.get_many(keys)
            missing = [one for one in keys if one not in found]
            new = {one: encode(one, 1.0, answer) for one in missing}
            appender.append(refresh.drain() | new)
            if start >= len(stream) // 2:
                hits += sum(one in found for one in keys)
        ring.close()
    return hits / (len(stream) - len(stream) // 2)


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
    lru = [hits_of_lru(*pair) for pair in zip(fitting, streams, strict=True)]
    yield _line("exact LRU", lru)
    for name, shares in variants():
        pairs = zip(streams, answers, strict=True)
        yield _line(name, [hit_ratio(*pair, shares) for pair in pairs])


def _line(name: str, ratios: Sequence[float]) -> str:
    return f"{name:14}" + "".join(f"  {ratio:.4f}" for ratio in ratios)


def main() -> None:
    """Print the report, a line as soon as it is measured."""
    for line in report():
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
