"""The cost of L1, and its hit ratio: python -m loadtests.l1.costs

Times are the best of several repeats, in microseconds, for answers of 100 bytes. L0 is
left out where the name says so. The hit ratio is that of loadtests.l1.hit_ratio, for
small stores. Last, the longest waits of other processes while writers are killed during
a write, and how long it takes to adopt a large store.
"""

from collections.abc import Callable, Iterator
from functools import partial
from time import perf_counter
from timeit import repeat

from gomlx.cache.shared_memory.in_process import InProcessCache
from gomlx.cache.shared_memory.store import adopt_store
from gomlx.cache.shared_memory.tier import SharedMemory
from loadtests.l1.hit_ratio import report as hit_ratio
from loadtests.l1.kills import kill_writers
from loadtests.l1.stores import fill, fresh_directory, fresh_store, key


def microseconds(function: Callable[[], object], number: int, per: int) -> float:
    """Return the best time of a call. per: how many keys a call has."""
    return min(repeat(function, number=number, repeat=7)) / number / per * 1e6


def read_costs() -> Iterator[tuple[str, float]]:
    """Yield the cost of a look-up of one key, alone and in a batch."""
    with fresh_directory(64) as directory:
        store = SharedMemory(directory)
        bare = SharedMemory(directory, l0=InProcessCache(max_entries=0))
        fill(store, range(100_000), 500)
        for name, start, opened in (
            ("hit", 99_000, store),
            ("hit without L0", 99_000, bare),
            ("miss", 10**6, store),
        ):
            keys = [key(n) for n in range(start, start + 100)]
            get_one = partial(opened.get_many, keys[:1])
            yield f"get, {name}", microseconds(get_one, 2000, 1)
            get_all = partial(opened.get_many, keys)
            yield f"get, {name}, of 100", microseconds(get_all, 100, 100)
        bare.close()
        store.close()


def adoption_ms(megabytes: int) -> float:
    """Return how long it takes to adopt a store."""
    with fresh_directory(megabytes) as directory:
        started = perf_counter()
        assert adopt_store(directory, megabytes << 20)
        return (perf_counter() - started) * 1000


def write_costs() -> Iterator[tuple[str, float]]:
    """Yield the cost of a write of one key, alone and in batches."""
    with fresh_store(64) as store:
        fill(store, range(100_000), 500)
        for batch in (1, 100, 500):
            starts = iter(range(10**6, 10**8, batch))

            def put(batch: int = batch, starts: Iterator[int] = starts) -> None:
                start = next(starts)
                fill(store, range(start, start + batch), batch)

            yield f"put, batches of {batch}", microseconds(put, 5000 // batch, batch)


def report() -> Iterator[str]:
    """Yield the lines of the report."""
    for costs in (read_costs, write_costs):
        for name, cost in costs():
            yield f"{name:28} {cost:6.2f} us a key"
    for megabytes in (2, 8, 32):
        yield hit_ratio(megabytes)
    with fresh_directory(8) as directory:
        kills = kill_writers(directory, 50)
    longest = ", ".join(
        f"a {what} {ms:.1f} ms" for what, ms in kills.longest_ms.items()
    )
    yield f"1024 MB: adopted in {adoption_ms(1024):.2f} ms"
    yield f"{kills.writers} writers killed in a write; others' longest: {longest}"


def main() -> None:
    """Print the report, a line as soon as it is measured."""
    for line in report():
        print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
