"""What all workers of a host have counted: in total, and in the last two minutes.

prometheus_client's files hold sums alone. The operations that mly's tools read also
have a least and a greatest value, and figures for each of the last minutes. Each worker
slot has a file for them, which its worker replaces as a whole: readers always find a
complete state, and so does the worker that gets the slot after one that was killed. The
files belong in shared memory: replacing one on a disk can take milliseconds, during
which the event loop is blocked.
"""

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

SeriesKey = tuple[str, ...]  # a metric and the values of its labels
ALL = 0  # the period that does not end; the others are minutes since 1970
MINUTES = 2  # the minutes that are kept: this one and the one before


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
_decoder = msgspec.msgpack.Decoder(Series)


class Tally:
    """The counts of one worker slot, those of its earlier workers included.

    clock gives seconds since 1970. Makes the directory (mode 0700) if it is missing.
    """

    def __init__(
        self, directory: Path, slot: int, clock: Callable[[], float] = time.time
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = directory / f"tally_{slot}.msgpack"
        self._clock = clock
        is_new = not self._path.exists()
        self._series = {} if is_new else _decoder.decode(self._path.read_bytes())
        self._is_changed = False
        self._is_failing = False

    def add(self, key: SeriesKey, sums: Sums) -> None:
        """Count events of this minute."""
        now = minute(self._clock())
        periods = self._series.get(key, {})
        kept = {p: s for p, s in periods.items() if p == ALL or p > now - MINUTES}
        for period in (ALL, now):
            kept[period] = sums.plus(kept.get(period, NONE))
        self._series[key] = kept
        self._is_changed = True

    def write(self) -> None:
        """Replace the file if a count has changed. The next call retries a failure."""
        if not self._is_changed:
            return
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(msgspec.msgpack.encode(self._series))
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


def read_all(directory: Path) -> Series:
    """Return the counts of all slots, summed by key and period."""
    found: Series = {}
    for path in directory.glob("tally_*.msgpack"):
        for key, periods in _decoder.decode(path.read_bytes()).items():
            merged = found.setdefault(key, {})
            for period, sums in periods.items():
                merged[period] = sums.plus(merged.get(period, NONE))
    return found
