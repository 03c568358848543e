"""How far a stream is, in the terminal: with rich."""

from collections.abc import Sized
from time import perf_counter
from typing import Any

from gomlx.client.extras import needs

_SECONDS = 0.1  # between two updates: one takes longer than a row


class Bar:
    """Rows that were answered, of how many if that is known, and how long it took.

    Raises ImportError without rich.
    """

    def __init__(self, what: str, rows: Any) -> None:
        try:
            from rich.console import Console
            from rich.progress import MofNCompleteColumn, Progress
        except ModuleNotFoundError as error:
            raise needs("progress=True", "progress", error) from None
        columns = (*Progress.get_default_columns(), MofNCompleteColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        total = len(rows) if isinstance(rows, Sized) else None
        self._task = self._progress.add_task(what, total=total)
        self._rows, self._shown = 0, 0.0

    def step(self) -> None:
        """Count a row; the first one shows the bar."""
        if not self._rows:
            self._progress.start()
        self._rows += 1
        if (now := perf_counter()) - self._shown > _SECONDS:
            self._shown = now
            self._progress.update(self._task, completed=self._rows)

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._progress.update(self._task, completed=self._rows)
        self._progress.stop()
