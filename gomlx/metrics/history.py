"""What was counted in the last minutes: a line every few seconds, in a shared file.

One worker of the host adds lines and any reads them, so that a page that has just been
opened shows what was before. The file is replaced as a whole: readers find complete
lines. It belongs in shared memory, beside the counts (tally.py).
"""

import logging
import os
from pathlib import Path

log = logging.getLogger(__name__)

PERIOD_SECONDS = 10.0
POINTS = 90  # a quarter of an hour


class RecentPoints:
    """The newest lines, at most POINTS. For one process that adds, and any that read.

    Where there is no room for the file, that is logged once, and the lines that could
    be written before stay.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "history.jsonl"
        self._is_failing = False

    def lines(self) -> list[bytes]:
        """Return the lines, the oldest first."""
        try:
            return self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return []

    def add(self, line: bytes) -> None:
        """Add a line, which holds no line break, and drop the oldest beyond POINTS."""
        new = self._path.with_suffix(".new")
        try:
            new.write_bytes(b"\n".join([*self.lines(), line][-POINTS:]))
            os.replace(new, self._path)
        except OSError as error:
            if not self._is_failing:
                log.error("cannot write what was counted: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
