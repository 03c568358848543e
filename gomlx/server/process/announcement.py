"""The file that says that a worker takes SIGUSR2."""

import asyncio
import logging
from pathlib import Path

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0


class Announcement:
    """A file named after this process, from `begin` to `end`.

    Others may remove it with the rest of the service's shared memory: then it is made
    anew, once there is a folder for it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._is_due = False
        self._is_failing = False

    def begin(self) -> None:
        """Make the file from now on. Without it, the clock does what signals would."""
        self._is_due = True
        self._make()

    def end(self) -> None:
        """Remove the file."""
        self._is_due = False
        self._path.unlink(missing_ok=True)

    async def keep(self) -> None:
        """Make the file anew whenever it is gone."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            if self._is_due and not self._path.exists():
                self._make()

    def _make(self) -> None:
        try:
            self._path.touch()
        except OSError as error:
            if not self._is_failing:  # logged once, until it succeeds
                log.error("cannot announce that this worker takes signals: %s", error)
            self._is_failing = True
        else:
            self._is_failing = False
