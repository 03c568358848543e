"""Which files of a package a run enters, and how often it crosses between two."""

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any


@dataclass
class Trace:
    """The files that are entered, in order, and the crossings of each pair."""

    files: list[str] = field(default_factory=list)
    crossings: Counter[tuple[str, str]] = field(default_factory=Counter)

    def enter(self, entered: str, caller: str | None) -> None:
        """Record a call. caller: the file that it comes from, if of the package."""
        if entered not in self.files:
            self.files.append(entered)
        if caller and caller != entered:
            first, second = sorted((caller, entered))
            self.crossings[first, second] += 1


class Tracer:
    """A profiler of this thread and of those that it starts later.

    root: the folder of the package. ignored: beginnings of paths that are left out.
    """

    def __init__(self, root: Path, ignored: tuple[str, ...] = ()) -> None:
        self._root = root
        self._ignored = ignored
        self._files: dict[str, str | None] = {}
        self._trace: Trace | None = None
        threading.setprofile(self)
        sys.setprofile(self)

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        """Record an event of the interpreter, if it is a call within the package."""
        trace = self._trace
        if trace is None or event != "call":
            return
        entered = self._file(frame)
        if entered is not None:
            trace.enter(entered, frame.f_back and self._file(frame.f_back))

    @contextmanager
    def tracing(self) -> Iterator[Trace]:
        """Yield a trace of the calls that are made meanwhile."""
        self._trace = found = Trace()
        try:
            yield found
        finally:
            self._trace = None

    def _file(self, frame: FrameType) -> str | None:
        if frame.f_code.co_name == "<module>":  # an import
            return None
        path = frame.f_code.co_filename
        if path not in self._files:
            self._files[path] = self._in_package(path)
        return self._files[path]

    def _in_package(self, path: str) -> str | None:
        if not Path(path).is_relative_to(self._root):
            return None
        file = str(Path(path).relative_to(self._root))
        return None if file.startswith(self._ignored) else file
