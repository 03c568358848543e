"""What a service holds: memory, files, shared memory, its folder, the size of a scrape.

Flat: the median of the last third of a run, without its first part, is no more than a
tolerance above that of the first third.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from loadtests.load import procfs
from tests.support.processes import parent_of
from tests.support.service import Service

_BLOCK = 512  # bytes, of st_blocks


class Tolerance(NamedTuple):
    """How much more is still flat: a share of what there was, and a constant."""

    share: float
    constant: float

    def of(self, value: float) -> float:
        """Return how much a value may grow."""
        return self.share * value + self.constant


# name → its unit is in it
TOLERANCES = {
    "RSS of all processes, MB": Tolerance(0.05, 10),
    "PSS of all processes, MB": Tolerance(0.05, 10),
    "RSS of the oldest worker, MB": Tolerance(0.05, 5),
    "RSS of the supervisor, MB": Tolerance(0.05, 3),
    "open files": Tolerance(0.1, 10),
    "threads": Tolerance(0.1, 5),
    "/dev/shm, MB": Tolerance(0.02, 1),
    "run_dir, MB": Tolerance(0.1, 1),
    "scrape, kB": Tolerance(0.02, 1),
}


class Sample(NamedTuple):
    """All gauges, so many seconds after the start. values: in the order of their
    tolerances."""

    at: float
    values: tuple[float, ...]


@dataclass(frozen=True)
class Trend:
    """What a gauge did: medians of the first and the last third, and what is flat."""

    name: str
    first: float
    last: float
    allowed: float

    @property
    def is_flat(self) -> bool:
        """Whether it has grown by no more than is allowed."""
        return self.last - self.first <= self.allowed


def sample(service: Service, at: float) -> Sample | None:
    """Return the gauges; None while processes start or end."""
    with suppress(OSError, ValueError):
        workers = sorted(service.worker_pids(), key=_started)
        if len(workers) < service.workers:
            return None
        pids = [service.process.pid, parent_of(workers[0]), *workers]
        memory = procfs.memory(pids)
        scrape = service.get_anew("/metrics")
        scrape.raise_for_status()
        megabyte = 1 << 20
        values = (
            memory.rss,
            memory.pss,
            procfs.memory(workers[:1]).rss,
            procfs.memory(pids[:1]).rss,
            float(sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids)),
            float(sum(len(os.listdir(f"/proc/{pid}/task")) for pid in pids)),
            _allocated(service.files.shared) / megabyte,
            _allocated(service.run_dir) / megabyte,
            len(scrape.content) / 1000,
        )
        return Sample(at, values)
    return None


def _started(pid: int) -> int:
    """When a process started, in the kernel's ticks."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19])


def _allocated(folder: Path) -> int:
    """Return the bytes of all files of a folder; what ends meanwhile is left out."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.lstat().st_blocks * _BLOCK
    return total


def trends(samples: Sequence[Sample], warm_seconds: float) -> list[Trend]:
    """Return what each gauge did after the service has warmed up."""
    warm = [one for one in samples if one.at >= warm_seconds]
    third = max(1, len(warm) // 3)
    found = []
    for place, (name, tolerance) in enumerate(TOLERANCES.items()):
        first = median(one.values[place] for one in warm[:third])
        last = median(one.values[place] for one in warm[-third:])
        found.append(Trend(name, first, last, tolerance.of(first)))
    return found
