"""What a service holds while models are swapped, twice a second."""

import os
import threading
from contextlib import suppress
from pathlib import Path
from time import perf_counter
from types import TracebackType
from typing import NamedTuple

from loadtests.load import procfs
from tests.support.service import Service

EVERY_SECONDS = 0.5
_BLOCK = 512  # bytes, of st_blocks
_STAGE = b"\0stage\0"  # among the arguments of a staging process


class Gauge(NamedTuple):
    """Megabytes at one moment, by the clock of perf_counter.

    staging_mb: the PSS of a staging process, 0 without one; pss_mb: of the others.
    disk_mb: of run_dir, where links to one file count once.
    """

    at: float
    pss_mb: float
    staging_mb: float
    disk_mb: float


class Gauges:
    """Reads them in a thread, as a context manager."""

    def __init__(self, service: Service) -> None:
        self.read: list[Gauge] = []
        self._service = service
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> "Gauges":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            with suppress(OSError):  # a process has ended meanwhile
                self.read.append(self._now())

    def _now(self) -> Gauge:
        pids = procfs.family(self._service.process.pid)
        stagings = [pid for pid in pids if _STAGE in _arguments(pid)]
        others = [pid for pid in pids if pid not in stagings]
        return Gauge(
            perf_counter(),
            procfs.memory(others).pss,
            procfs.memory(stagings).pss,
            _disk_mb(self._service.run_dir),
        )


def _arguments(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _disk_mb(folder: Path) -> float:
    blocks = {}
    for root, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                found = os.lstat(os.path.join(root, name))
                blocks[found.st_ino] = found.st_blocks
    return sum(blocks.values()) * _BLOCK / 2**20
