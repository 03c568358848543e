"""An output file that several runs may write, each continuing where the last one ended.

    OUTPUT.part      what has been written: whole chunks, of rows with their answers
    OUTPUT.position  JSON: how far that is, in the input and in the part; and the
                     settings of the run, which a run that continues it must share

The position is replaced atomically, after everything that it counts is on disk.
Whatever ends a run, the next one cuts the part to the position and continues there. At
the end the part becomes the output, which is complete or not there at all.
"""

import fcntl
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import orjson

from gomlx.cli.files.tables import START, Position
from gomlx.errors import GomlxError

_SAVE_SECONDS = 0.5


class OutputConflict(GomlxError):
    """A file where the output goes is not this run's."""


@dataclass
class RunProgress:
    """What OUTPUT.position holds. size is that of the part, in bytes; skipped is the
    number of rows without an answer; versions are those that have answered."""

    settings: dict[str, Any]
    position: Position = START
    size: int = 0
    skipped: int = 0
    versions: list[str] = field(default_factory=list)


class ResumableOutput:
    """The part and the position of an output.

    replaces: delete an output, a part and a position that are there. is_complete is
    true if an earlier run with these settings has already finished the output.

    Raises OutputConflict for files of another run, and GomlxError if another run is
    writing this output now.
    """

    def __init__(self, output: Path, settings: dict[str, Any], replaces: bool) -> None:
        self.output = output
        self.progress = RunProgress(settings)
        self.part = output.with_name(f"{output.name}.part")
        self._position_file = output.with_name(f"{output.name}.position")
        # An output beside its position: a run ended before it removed the position.
        is_finished = output.exists() and self._position_file.exists()
        self.is_complete = is_finished and not replaces
        if self.is_complete:
            self._remove_rest()
        elif output.exists() and not replaces:
            raise OutputConflict(f"{output} is there already; --force replaces it")
        else:
            self._file = self._open_part()
            try:
                self._begin(replaces)
            except BaseException:
                self._file.close()
                raise

    def _open_part(self) -> BinaryIO:
        return os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")

    def _begin(self, replaces: bool) -> None:
        """Lock the part and cut it to the position of the last run, if there is one."""
        self._lock()
        if replaces:
            self._position_file.unlink(missing_ok=True)
            self.output.unlink(missing_ok=True)
            self._file.truncate(0)
        size = self._file.seek(0, os.SEEK_END)
        if self._position_file.exists():
            self.progress = self._read_progress(self.progress.settings)
        elif size:
            raise OutputConflict(f"{self.part} is in the way; --force replaces it")
        if size < self.progress.size:
            raise OutputConflict(f"{self.part} is damaged; --force starts over")
        self._file.truncate(self.progress.size)
        self._file.seek(self.progress.size)
        self.save()

    def _lock(self) -> None:
        """Exclude other runs. Raises GomlxError if there is one."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # A run that has just ended may have renamed this very file to its output.
            is_there = os.path.samestat(os.fstat(self._file.fileno()), self.part.stat())
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            raise GomlxError(f"{self.part}: another run is writing it")

    def add(self, data: bytes, position: Position) -> None:
        """Append the encoded rows that come before a position of the input."""
        self.progress.size += self._file.write(data)
        self.progress.position = position
        if monotonic() - self._saved_at > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Put on disk what was added so far."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._write_progress()
        self._saved_at = monotonic()

    def finish(self, convert: Callable[[Path, Path], None]) -> None:
        """Make the output of the part: convert gets the paths of both."""
        self.save()
        convert(self.part, self.output)
        self._remove_rest()

    def close(self) -> None:
        """Release the lock: another run may continue."""
        if not self.is_complete:
            self._file.close()

    def _read_progress(self, settings: dict[str, Any]) -> RunProgress:
        try:
            found = orjson.loads(self._position_file.read_bytes())
            position = Position(**found["position"])
            progress = RunProgress(**found | {"position": position})
        except (ValueError, TypeError, KeyError):
            raise OutputConflict(
                f"{self._position_file} is damaged; --force starts over"
            ) from None
        for name, value in settings.items():
            if (was := progress.settings.get(name)) != value:
                raise OutputConflict(
                    f"{self.part} was begun with {name} {was!r}, not {value!r};"
                    " --force starts over"
                )
        return progress

    def _write_progress(self) -> None:
        new = self._position_file.with_name(f"{self._position_file.name}.new")
        with new.open("wb") as file:
            file.write(orjson.dumps(asdict(self.progress)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._position_file)

    def _remove_rest(self) -> None:
        self.part.unlink(missing_ok=True)
        self._position_file.unlink(missing_ok=True)
