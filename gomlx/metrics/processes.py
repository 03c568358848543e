"""What the processes of a service use, as the kernel tells it in /proc.

The names and the meanings are those of prometheus_client's collector, which knows its
own process alone. Any worker may be scraped, so each process has a label here.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from gomlx.metrics.exposition import ScrapedMetric

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class ProcessUse(NamedTuple):
    """What one process uses. parent: its id. started: seconds since 1970."""

    parent: int
    cpu_seconds: float
    resident_bytes: int
    virtual_bytes: int
    started: float


def process_metrics(workers: Mapping[int, int]) -> list[ScrapedMetric]:
    """Return the metrics of workers (slot → process id), and of their parents."""
    running = ScrapedMetric("gomlx_workers")
    running.add(len(workers))
    metrics = [
        ScrapedMetric("process_cpu_seconds_total"),
        ScrapedMetric("process_resident_memory_bytes"),
        ScrapedMetric("process_virtual_memory_bytes"),
        ScrapedMetric("process_start_time_seconds"),
    ]
    for name, use in _every(workers):
        for metric, value in zip(metrics, use[1:], strict=True):
            metric.add(value, name)
    return [running, *metrics]


def label_of(slot: int) -> str:
    """Return the name of a worker among the processes."""
    return f"worker_{slot}"


def _every(workers: Mapping[int, int]) -> Iterator[tuple[str, ProcessUse]]:
    """Yield the name and the use of each worker, of the master, of the supervisor."""
    parents = set()
    for slot, process in sorted(workers.items()):
        if use := use_of(process):
            parents.add(use.parent)
            yield label_of(slot), use
    if len(parents) == 1 and (master := use_of(*parents)):
        yield "gunicorn", master
        if supervisor := use_of(master.parent):
            yield "supervisor", supervisor


def use_of(process: int) -> ProcessUse | None:
    """Return what a process uses; None if it has ended."""
    try:
        line = Path(f"/proc/{process}/stat").read_text()
        booted = _booted()
    except OSError:
        return None
    # After the name, which may hold anything: the third field and those behind it.
    fields = line.rpartition(")")[2].split()
    return ProcessUse(
        parent=int(fields[1]),
        cpu_seconds=(int(fields[11]) + int(fields[12])) / _TICKS,
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
        virtual_bytes=int(fields[20]),
        started=booted + int(fields[19]) / _TICKS,
    )


def _booted() -> float:
    """Return when the kernel has started, in seconds since 1970."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, _, value = line.partition(" ")
        if name == "btime":
            return float(value)
    return 0.0
