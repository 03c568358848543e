"""What all workers of a host have counted: in total, and in the last two minutes.

Each worker slot has a file, which its worker replaces as a whole: readers always find a
complete state, and so does the worker that gets the slot after one that was killed. A
file that is damaged or missing counts as empty; a worker whose own it is writes all
that it has counted again. Files are read and written, never mapped: where there is no
room for one, that is an error that is logged, and not a SIGBUS.

The files belong in shared memory: replacing one on a disk can take milliseconds, during
which the event loop is blocked.

    CRC-32 of the rest, 4 bytes, little-endian
    Counts, as MessagePack
"""

import logging
import os
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import add
from pathlib import Path
from zlib import crc32

import msgspec

from gomlx.metrics.states import GAUGES

log = logging.getLogger(__name__)

SeriesKey = tuple[str, ...]  # a metric and the values of its labels
ALL = 0  # the period that does not end; the others are minutes since 1970
MINUTES = 2  # the minutes that are kept: this one and the one before
_CHECKSUM_BYTES = 4


class Sums(msgspec.Struct, array_like=True, frozen=True):
    """The number of events; of measured ones also their sum, least and greatest.

    A file has them as an array: [n, total, low, high].
    """

    n: int = 0
    total: float = 0.0
    low: float = 0.0
    high: float = 0.0

    def plus(self, other: "Sums") -> "Sums":
        """Return the sums of both."""
        if not self.n or not other.n:
            return self if self.n else other
        return Sums(
            self.n + other.n,
            self.total + other.total,
            min(self.low, other.low),
            max(self.high, other.high),
        )


NONE = Sums()
Series = dict[SeriesKey, dict[int, Sums]]  # by period


class Counts(msgspec.Struct):
    """What a slot has counted, or all of them.

    series: of counters and histograms. buckets: how many values each bucket of a
    histogram has, from the first one. gauges: of all slots, the greatest value, or the
    sum of those that add up. workers: slot → the process that counts for it.
    """

    series: Series = {}
    buckets: dict[SeriesKey, list[int]] = {}
    gauges: dict[SeriesKey, float] = {}
    workers: dict[int, int] = {}

    def merge(self, other: "Counts") -> None:
        """Add what another slot has counted."""
        for key, periods in other.series.items():
            merged = self.series.setdefault(key, {})
            for period, sums in periods.items():
                merged[period] = sums.plus(merged.get(period, NONE))
        for key, counts in other.buckets.items():
            self.add_buckets(key, counts)
        for key, value in other.gauges.items():
            known = self.gauges.get(key)
            if known is None:
                self.gauges[key] = value
            else:
                adds_up = GAUGES[key[0]].adds_up
                self.gauges[key] = known + value if adds_up else max(known, value)
        self.workers.update(other.workers)

    def add_buckets(self, key: SeriesKey, counts: Sequence[int]) -> None:
        """Add the numbers of values in each bucket of a histogram."""
        known = self.buckets.get(key)
        self.buckets[key] = [*map(add, known, counts)] if known else [*counts]

    def forget_dead(self) -> None:
        """Forget the state of a worker that was killed; what it counted stays."""
        if not all(map(_is_running, self.workers.values())):
            self.workers = {}
            self.gauges = {}


def _is_running(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


_decoder = msgspec.msgpack.Decoder(Counts)


class Tally:
    """The counts of one worker slot, those of its earlier workers included.

    predecessor: how the worker before this one has left the slot: "ended", "died", or
    "" if there was none. clock gives seconds since 1970.
    """

    def __init__(
        self, directory: Path, slot: int, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = directory / f"tally_{slot}.msgpack"
        self._clock = clock
        self._counts = _read(self._path)
        self.predecessor = "died" if self._counts.workers else ""
        if self._counts.series and not self.predecessor:
            self.predecessor = "ended"
        self._counts.gauges.clear()
        self._counts.workers = {slot: os.getpid()}
        self._is_changed = True
        self._is_failing = False

    def add(self, key: SeriesKey, sums: Sums, buckets: Sequence[int] = ()) -> None:
        """Count events of this minute; buckets: of a histogram, how many are in each.

        The sums may be of no events: the series begins to exist.
        """
        now = minute(self._clock())
        periods = self._counts.series.get(key, {})
        kept = {p: s for p, s in periods.items() if p == ALL or p > now - MINUTES}
        for period in (ALL, now):
            kept[period] = sums.plus(kept.get(period, NONE))
        self._counts.series[key] = kept
        if buckets:
            self._counts.add_buckets(key, buckets)
        self._is_changed = True

    def set(self, key: SeriesKey, value: float) -> None:
        """Set a gauge."""
        if self._counts.gauges.get(key) != value:
            self._counts.gauges[key] = float(value)  # a bool would not be read back
            self._is_changed = True

    def unset(self, key: SeriesKey) -> None:
        """Forget a gauge."""
        if self._counts.gauges.pop(key, None) is not None:
            self._is_changed = True

    def end(self) -> None:
        """Note that this worker leaves the slot, and has no state any more."""
        self._counts.gauges.clear()
        self._counts.workers.clear()
        self._is_changed = True

    def write(self) -> None:
        """Replace the file if a count has changed or the file is gone.

        The next call retries a failure.
        """
        if not self._is_changed and self._path.exists():
            return
        new = self._path.with_suffix(".new")
        data = msgspec.msgpack.encode(self._counts)
        try:
            new.write_bytes(crc32(data).to_bytes(_CHECKSUM_BYTES, "little") + data)
            os.replace(new, self._path)
        except OSError as error:
            if not self._is_failing:  # a full disk must not fill the log as well
                log.error("cannot write metrics: %s", error)
            self._is_failing = True
        else:
            self._is_changed = False
            self._is_failing = False


def minute(seconds: float) -> int:
    """Return the period of a time in seconds since 1970."""
    return int(seconds // 60)


def read_all(directory: Path) -> Counts:
    """Return the counts of all slots, summed by key and period.

    Gauges are those of workers that run.
    """
    found = Counts()
    for path in directory.glob("tally_*.msgpack"):
        counts = _read(path)
        counts.forget_dead()
        found.merge(counts)
    return found


def _read(path: Path) -> Counts:
    """Return what a file holds: nothing if it is missing, or damaged and so removed."""
    try:
        return _decoded(path.read_bytes())
    except FileNotFoundError:
        return Counts()
    except (OSError, ValueError) as error:
        log.error("%s is discarded, and with it what it has counted: %s", path, error)
        with suppress(OSError):
            path.unlink()
        return Counts()


def _decoded(data: bytes) -> Counts:
    """Return what a file holds. Raises ValueError if it is damaged."""
    rest = data[_CHECKSUM_BYTES:]
    if crc32(rest) != int.from_bytes(data[:_CHECKSUM_BYTES], "little"):
        raise ValueError("it is damaged")
    return _decoder.decode(rest)
