"""What a replay has found."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.markup import escape

from gomlx.cli.replay.compare import Difference
from gomlx.cli.replay.log_lines import LoggedRow
from gomlx.cli.terminal import output, print_error
from gomlx.errors import GomlxError

_MOST_EXAMPLES = 5


@dataclass
class ReplayResult:
    """The rows of a replay, by what became of them.

    differences: of rows that were answered. failed: by message. others: lines without a
    row. late_seconds: how far behind its time the latest row was sent. examples: of
    answers that differ.
    """

    differences: Counter[Difference] = field(default_factory=Counter)
    failed: Counter[str] = field(default_factory=Counter)
    tiers: Counter[str] = field(default_factory=Counter)
    logged_versions: set[str] = field(default_factory=set)
    versions: set[str] = field(default_factory=set)
    examples: list[dict[str, Any]] = field(default_factory=list)
    others: int = 0
    seconds: float = 0.0
    late_seconds: float = 0.0

    @property
    def rows(self) -> int:
        """How many rows were sent."""
        return self.differences.total() + self.failed.total()

    @property
    def is_same(self) -> bool:
        """Whether each row was answered as it was, or nearly."""
        return not (self.differences[Difference.different] or self.failed)

    def add(self, row: LoggedRow, answer: Any, found: Difference) -> None:
        """Count a row that was answered."""
        self.differences[found] += 1
        if found is Difference.different and len(self.examples) < _MOST_EXAMPLES:
            example = {"row": row.row, "logged": row.answer, "answer": answer}
            self.examples.append({"model": row.model} | example)

    def add_failure(self, error: GomlxError) -> None:
        """Count a row without an answer."""
        self.failed[f"{type(error).__name__}: {error}"[:200]] += 1

    def as_dict(self) -> dict[str, Any]:
        """Return all of it for JSON."""
        counts = {one.name: self.differences[one] for one in Difference}
        return {
            "rows": self.rows,
            **counts,
            "failed": self.failed.total(),
            "failures": dict(self.failed.most_common(_MOST_EXAMPLES)),
            "other_lines": self.others,
            "seconds": round(self.seconds, 3),
            "late_seconds": round(self.late_seconds, 3),
            "rows_by_tier": dict(self.tiers),
            "versions": {
                "logged": sorted(self.logged_versions),
                "answered": sorted(self.versions),
            },
            "examples": self.examples,
        }

    def print(self) -> None:
        """Print it for people."""
        counts = [f"{self.differences[one]:,} {one.name}" for one in Difference]
        failed = f", {self.failed.total():,} failed" if self.failed else ""
        speed = self.rows / self.seconds if self.seconds else 0.0
        output.print(f"{self.rows:,} rows: {', '.join(counts)}{failed}")
        output.print(f"{self.seconds:.1f} s, {speed:,.0f} rows a second")
        tiers = [f"{tier} {rows:,}" for tier, rows in self.tiers.most_common()]
        output.print(f"answers are from: {', '.join(tiers) or 'nowhere'}")
        if self.logged_versions != self.versions and self.versions:
            output.print("the versions that answered are not those of the log")
        if self.others:
            output.print(f"{self.others:,} lines hold no row")
        for one in self.examples:
            print_error(f"model {one['model']}, row {one['row']}")
            output.print(escape(f"  logged {one['logged']}\n  answer {one['answer']}"))
        for message, rows in self.failed.most_common(_MOST_EXAMPLES):
            print_error(f"{rows:,} rows: {message}")
