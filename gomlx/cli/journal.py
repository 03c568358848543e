"""An output that is written over several runs.

    OUTPUT.part      what has been written: in whole chunks, of rows and their answers
    OUTPUT.position  JSON: how far that is, in the input and in the part; and what the
                     run was asked for, which another run must not continue otherwise

The position is replaced at once, after what it tells of is on disk. Whatever ends a
run, the next one cuts the part to the position and goes on there. At the end the part
becomes the output, which is whole or not there at all.
"""

import fcntl
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any, BinaryIO

import orjson

from gomlx.cli.tables import START, Position
from gomlx.errors import GomlxError

_SAVE_SECONDS = 0.5


class NotOurs(GomlxError):
    """What stands where the output goes is not this run's."""


@dataclass
class State:
    """What OUTPUT.position holds; size: of the part, in bytes."""

    settings: dict[str, Any]
    position: Position = START
    size: int = 0
    skipped: int = 0
    versions: list[str] = field(default_factory=list)


class Journal:
    """The part and its position; is_complete: a run before this one has done it all."""

    def __init__(self, output: Path, settings: dict[str, Any], anew: bool) -> None:
        self.output, self.state = output, State(settings)
        self.part = output.with_name(f"{output.name}.part")
        self._note = output.with_name(f"{output.name}.position")
        # An output beside its position: only the removal of the rest was cut short.
        self.is_complete = output.exists() and self._note.exists() and not anew
        if self.is_complete:
            self._clean()
        elif output.exists() and not anew:
            raise NotOurs(f"{output} is there already; --force replaces it")
        else:
            self._file = self._opened()
            try:
                self._begin(anew)
            except BaseException:
                self._file.close()
                raise

    def _opened(self) -> BinaryIO:
        return os.fdopen(os.open(self.part, os.O_RDWR | os.O_CREAT, 0o666), "r+b")

    def _begin(self, anew: bool) -> None:
        self._lock()
        if anew:
            self._note.unlink(missing_ok=True)
            self.output.unlink(missing_ok=True)
            self._file.truncate(0)
        size = self._file.seek(0, os.SEEK_END)
        if self._note.exists():
            self.state = self._read(self.state.settings)
        elif size:
            raise NotOurs(f"{self.part} is in the way; --force replaces it")
        if size < self.state.size:
            raise NotOurs(f"{self.part} is damaged; --force begins anew")
        self._file.truncate(self.state.size)
        self._file.seek(self.state.size)
        self.save()

    def _lock(self) -> None:
        """Keep other runs off. Raises GomlxError when there is one."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # One that has just ended has made its output of this very file.
            is_there = os.path.samestat(os.fstat(self._file.fileno()), self.part.stat())
        except (BlockingIOError, FileNotFoundError):
            is_there = False
        if not is_there:
            raise GomlxError(f"{self.part}: another run is writing it")

    def add(self, data: bytes, position: Position) -> None:
        """Write what there is of the input up to a position."""
        self.state.size += self._file.write(data)
        self.state.position = position
        if monotonic() - self._saved > _SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Make what was written last, whatever happens."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._write_note()
        self._saved = monotonic()

    def finish(self, convert: Callable[[Path, Path], None]) -> None:
        """Make the output: convert is given the part and its path."""
        self.save()
        convert(self.part, self.output)
        self._clean()

    def close(self) -> None:
        """Let another run continue."""
        if not self.is_complete:
            self._file.close()

    def _read(self, settings: dict[str, Any]) -> State:
        try:
            found = orjson.loads(self._note.read_bytes())
            state = State(**found | {"position": Position(**found["position"])})
        except (ValueError, TypeError, KeyError):
            raise NotOurs(f"{self._note} is damaged; --force begins anew") from None
        for name, value in settings.items():
            if (was := state.settings.get(name)) != value:
                raise NotOurs(
                    f"{self.part} was begun with {name} {was!r}, not {value!r};"
                    " --force begins anew"
                )
        return state

    def _write_note(self) -> None:
        new = self._note.with_name(f"{self._note.name}.new")
        with new.open("wb") as file:
            file.write(orjson.dumps(asdict(self.state)))
            file.flush()
            os.fsync(file.fileno())
        os.replace(new, self._note)

    def _clean(self) -> None:
        self.part.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
