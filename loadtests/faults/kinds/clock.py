"""The time of day jumps, as a preloaded library shows it to a service.

The library is clock.c: libfaketime 0.9.10 breaks the sleeps of Python 3.11, or moves
the monotonic clock, too. It is compiled for each service.
"""

import shutil
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

from loadtests.faults.fault import Fault
from loadtests.faults.scene import Scene, until

_SOURCE = Path(__file__).with_suffix(".c")
_FILE = "clock"
_DAY = 86_400
_ROW = {"word": "w1", "x": 1}


def missing() -> str:
    """Return what is missing, or ""."""
    return "" if shutil.which("cc") else "needs a C compiler, cc"


def prefix(folder: Path) -> Sequence[str]:
    """Return the command that runs a service with the clock of a folder."""
    library = folder / "clock.so"
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE)]
    subprocess.run(command, check=True)
    _shift(folder, 0)
    return ("env", f"LD_PRELOAD={library}", f"CLOCK_SHIFT_FILE={folder / _FILE}")


def _shift(folder: Path, days: int) -> None:
    """Shift the clock; processes have mapped the file, which therefore stays."""
    path = folder / _FILE
    with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
        file.write(struct.pack("l", days * _DAY))


@contextmanager
def _jumps(days: int, scene: Scene) -> Iterator[None]:
    """Jump by so many days, and back at the end."""
    _shift(scene.service.folder, days)
    until(lambda: abs(_ahead(scene) - days * _DAY) < _DAY / 2, 5)
    yield
    _shift(scene.service.folder, 0)


def _ahead(scene: Scene) -> float:
    """Return by how many seconds the service's clock is ahead."""
    date = scene.service.post_anew("m", _ROW).headers["date"]
    return parsedate_to_datetime(date).timestamp() - time.time()


@contextmanager
def _jumps_and_a_worker_dies(scene: Scene) -> Iterator[None]:
    """Those that start live in the past of what is in shared memory."""
    with _jumps(-1, scene):
        scene.kill([scene.busiest()])
        yield


FAULTS = (
    Fault("the clock jumps a day ahead", partial(_jumps, 1)),
    Fault("the clock jumps a day back", partial(_jumps, -1)),
    Fault("the clock jumps back, and a worker dies", _jumps_and_a_worker_dies),
)
