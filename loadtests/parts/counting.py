"""The cost of counting: python -m loadtests.parts.counting

Counts what the service counts for a request of one row that hits L1, in the order of
cache/local.py, server/predict/model.py and server/http/protocol.py, with their
readings of the clock and with the folding of histograms. Then flushes, as a worker does
four times a second. Prints the best of many short repeats, in microseconds.
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from timeit import repeat

from gomlx.metrics.metrics import Metrics
from gomlx.runtime.rundir import SHARED_MEMORY

_HITS = 5000
_REPEATS = 200  # many and short, so that other processes disturb only some of them
_MODELS = 10
_BETWEEN_FOLDS = 1000  # hits: 40,000 a second
_OUTCOMES = ("hit", "miss")


def microseconds_per_hit(metrics: Metrics) -> float:
    """Return the cost of counting a hit."""
    hit, miss = (
        metrics.counter("gomlx_cache_lookups", "s", "L1", o) for o in _OUTCOMES
    )
    looked_up = metrics.histogram("gomlx_cache_seconds", "s", "L1")
    collapsed = {"m": metrics.counter("gomlx_flights_collapsed", "m")}
    ok = {"m": metrics.counter("gomlx_requests", "m", "200")}
    seconds = {"m": metrics.histogram("gomlx_request_seconds", "m")}

    def count() -> None:
        received = perf_counter()
        started = perf_counter()
        looked_up.add(perf_counter() - started)
        hit.n += 1
        miss.n += 0
        collapsed["m"].n += 0
        ok["m"].n += 1
        seconds["m"].add(perf_counter() - received)

    def many() -> None:
        for _ in range(_BETWEEN_FOLDS):
            count()
        metrics.fold()

    return best(many, 5) / _BETWEEN_FOLDS - best(nothing)


def microseconds_per_flush(metrics: Metrics) -> float:
    """Return the cost of a flush after requests for _MODELS models."""
    names = [f"model-{n}" for n in range(_MODELS)]

    def flush() -> None:
        for name in names:
            metrics.counter("gomlx_requests", name, "200").n += 1
            metrics.histogram("gomlx_request_seconds", name).add(3e-5)
        metrics.flush()

    return best(flush, 20)


def nothing() -> None:
    """Do nothing: the cost of a call alone."""


def best(function: Callable[[], None], number: int = _HITS) -> float:
    """Return the least time of a call, in microseconds."""
    return min(repeat(function, number=number, repeat=_REPEATS)) / number * 1e6


def main() -> None:
    """Print both costs."""
    with TemporaryDirectory(dir=SHARED_MEMORY) as directory:
        metrics = Metrics(Path(directory), 0)
        print(f"a hit: {microseconds_per_hit(metrics):.2f} us")  # noqa: T201
        flush = microseconds_per_flush(metrics)
        print(f"a flush, {_MODELS} models: {flush:.0f} us")  # noqa: T201


if __name__ == "__main__":
    main()
