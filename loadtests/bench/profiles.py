"""Where the CPU of a worker goes under load: functions by their own time, by py-spy."""

import tempfile
from collections import Counter
from pathlib import Path
from subprocess import DEVNULL, Popen

from rich.table import Table

from loadtests.bench import cells
from loadtests.bench.cells import Cell
from loadtests.bench.measure import Rig
from loadtests.load import procfs
from loadtests.load.services import System
from loadtests.load.wrk import path_of

_RATE = 500  # samples a second
_LINES = 25


def profile(rig: Rig, system: System, cell: Cell, seconds: float) -> Table:
    """Return the functions that run longest while a cell is measured."""
    if cell.hits:
        system.warm(cells.traffic(system, cell))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "raw"
        command = [str(path_of("py-spy")), "record", "--nonblocking"]
        command += ["--pid", str(system.pids[0])]
        command += ["--rate", str(_RATE), "--duration", str(round(seconds))]
        command += ["--format", "raw", "--output", str(file)]
        with procfs.on(rig.load_cores):
            spy = Popen(command, stdout=DEVNULL, stderr=DEVNULL)
        run = cells.measured(rig, system, cell)
        spy.wait(60)
        return shown(f"{cell.name}: {run.cpu_us:.1f} us CPU", file.read_text())


def shown(title: str, raw: str) -> Table:
    """Return a table of functions: at the top of stacks, and anywhere in stacks."""
    own: Counter[str] = Counter()
    with_callees: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = [frame.rpartition(":")[0] or frame for frame in stack.split(";")]
        own[frames[-1]] += int(count)
        for frame in set(frames):
            with_callees[frame] += int(count)
    total = own.total()
    shown = Table("function", "own", "with callees", title=title)
    for name, n in own.most_common(_LINES):
        shown.add_row(name, f"{n / total:.1%}", f"{with_callees[name] / total:.1%}")
    return shown
