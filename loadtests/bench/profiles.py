"""Where the CPU of a worker goes under load, by py-spy: functions by their own time."""

import subprocess
import tempfile
from collections import Counter
from pathlib import Path

from rich.table import Table

from loadtests.bench import table
from loadtests.bench.measure import Rig
from loadtests.bench.table import Cell
from loadtests.load import procfs
from loadtests.load.services import System
from loadtests.load.wrk import found

_RATE = 500  # samples a second
_LINES = 25


def profile(rig: Rig, system: System, cell: Cell, seconds: float) -> Table:
    """Return the functions that run most, while a cell is measured."""
    if cell.hits:
        system.warm(table.traffic(system, cell))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "raw"
        command = [str(found("py-spy")), "record", "--nonblocking"]
        command += ["--pid", str(system.pids[0])]
        command += ["--rate", str(_RATE), "--duration", str(round(seconds))]
        command += ["--format", "raw", "--output", str(file)]
        with procfs.on(rig.load_cores):
            spy = subprocess.Popen(command, stdout=-3, stderr=-3)
        run = table.measured(rig, system, cell)
        spy.wait(60)
        return shown(f"{cell.name}: {run.cpu_us:.1f} us CPU", file.read_text())


def shown(title: str, raw: str) -> Table:
    """Return a table of what is at the top of stacks, and of what is anywhere."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    total = own.total()
    shown = Table("function", "own", "with callees", title=title)
    for name, n in own.most_common(_LINES):
        shown.add_row(name, f"{n / total:.1%}", f"{whole[name] / total:.1%}")
    return shown
