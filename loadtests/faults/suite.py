"""Runs faults, family after family: each family has a service of its own."""

import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from rich.console import Console

from loadtests.faults import report
from loadtests.faults.fault import Fault, run
from loadtests.faults.judge import Limits, Outcome, Replies
from loadtests.faults.scene import Scene
from loadtests.load.traffic import FIRST

_ROWS = 40_000  # more than the new ones of one load


@dataclass(frozen=True)
class Family:
    """Faults that one service gets, one after the other.

    opens: a context, in which the service runs, in a folder that it may use. missing:
    says what it needs that is not here, or "".
    """

    name: str
    opens: Callable[[Path], AbstractContextManager[Scene]]
    faults: Sequence[Fault]
    missing: Callable[[], str] = str

    def only(self, texts: Collection[str]) -> "Family":
        """Return it with the faults whose name has one of some texts."""
        chosen = [one for one in self.faults if any(text in one.name for text in texts)]
        return replace(self, faults=chosen)


@dataclass
class Suite:
    """One run. problem: why there is no file system that may be filled, or ""."""

    console: Console
    seconds: float
    problem: str
    outcomes: list[Outcome] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    _starts: Iterator[int] = field(default_factory=lambda: count(FIRST, _ROWS))

    def run(self, family: Family) -> None:
        """Do all faults of a family."""
        remaining = list(self._possible(family))
        while remaining:
            count = len(remaining)
            try:
                with self._status(f"a service for {family.name}"), _folder() as folder:
                    self._run_some(family, folder, remaining)
            except Exception as error:
                if len(remaining) == count:  # another service would not start, either
                    self._add(_failed(remaining.pop(0), error))

    def _possible(self, family: Family) -> Iterator[Fault]:
        missing = family.missing() if family.faults else ""
        for fault in family.faults:
            reason = missing or fault.missing()
            reason = reason or (self.problem if fault.needs_root else "")
            if reason:
                self.skipped.append(f"{fault.name}: {reason}")
            else:
                yield fault

    def _run_some(self, family: Family, folder: Path, remaining: list[Fault]) -> None:
        """Do faults to one service, until it has not recovered from one of them."""
        with family.opens(folder) as scene:
            while remaining:
                fault = remaining.pop(0)
                with self._status(fault.name):
                    outcome = self._outcome(fault, scene)
                self._add(outcome)
                if outcome.recovery is None:
                    self.console.print(scene.service.text()[-4000:])
                    return

    def _outcome(self, fault: Fault, scene: Scene) -> Outcome:
        try:
            return run(fault, scene, self.seconds, next(self._starts))
        except Exception as error:  # of any kind: it is the outcome
            return _failed(fault, error)

    def _add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self.console.print(report.line(outcome))

    @contextmanager
    def _status(self, text: str) -> Iterator[None]:
        """Show what is being done, on a terminal."""
        if not self.console.is_terminal:
            yield
            return
        with self.console.status(text):
            yield


def _failed(fault: Fault, error: Exception) -> Outcome:
    """Return the outcome of a fault that could not be made, or not be ended."""
    limits = Limits(fault.longest, fault.recovery)
    text = f"{type(error).__name__}: {error}"
    return Outcome(fault.name, Replies(0, 0.0), None, [text], limits)


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="faults-") as name:
        yield Path(name)
