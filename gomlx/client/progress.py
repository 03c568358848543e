"""A stream's progress in the terminal, drawn by rich."""

from collections.abc import Sized
from time import perf_counter
from typing import Any

from gomlx.client.extras import missing_extra

_UPDATE_SECONDS = 0.1  # between two updates: one takes longer than a row


class Bar:
    """A progress bar on standard error: rows answered, of how many, and the time.

    rows: whose length, if they have one, is the total. Raises ImportError without rich.
    """

    def __init__(self, title: str, rows: Any) -> None:
        try:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress
        except ModuleNotFoundError as error:
            raise missing_extra("progress=True", "progress", error) from None
        columns = [*Progress.get_default_columns(), MofNCompleteColumn()]
        self._progress = Progress(*columns, console=Console(stderr=True))
        total = len(rows) if isinstance(rows, Sized) else None
        self._task = self._progress.add_task(title, total=total)
        self._rows = 0
        self._updated = 0.0

    def step(self) -> None:
        """Count a row; the first one shows the bar."""
        if not self._rows:
            self._progress.start()
        self._rows += 1
        now = perf_counter()
        if now - self._updated > _UPDATE_SECONDS:
            self._updated = now
            self._progress.update(self._task, completed=self._rows)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.update(self._task, completed=self._rows)
        self._progress.stop()
