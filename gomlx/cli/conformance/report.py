"""The table of outcomes, and the requests that show a wrong answer."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from gomlx.cli.terminal import output
from gomlx.conformance.verdict import CheckOutcome, CheckResult, as_text

_STYLES = {
    CheckResult.right: "green",
    CheckResult.wrong: "bold red",
    CheckResult.skipped: "dim",
    CheckResult.failed: "yellow",
}
_NOTE_CHARACTERS = 200


def print_report(outcomes: Sequence[CheckOutcome]) -> None:
    """Print the table; then each wrong outcome with its requests."""
    table = Table("check", "question", "result", "what was seen", box=None)
    for one in outcomes:
        result = f"[{_STYLES[one.result]}]{one.result.value}[/]"
        note = escape(one.note[:_NOTE_CHARACTERS])
        table.add_row(one.name, escape(one.question), result, note)
    output.print(table)
    for one in outcomes:
        if one.result is CheckResult.wrong:
            _print_wrong(one)
    counts = [f"{_count(outcomes, result)} {result.value}" for result in CheckResult]
    output.print(f"\n{', '.join(counts)}")


def _count(outcomes: Sequence[CheckOutcome], result: CheckResult) -> int:
    return sum(one.result is result for one in outcomes)


def _print_wrong(one: CheckOutcome) -> None:
    output.print(f"\n[bold red]{one.name}[/]: {escape(one.note)}")
    for exchange in one.exchanges:
        document = exchange.document()
        output.out(document["curl"], highlight=False)
        output.out(f"  {document['status']} {document['answer']}", highlight=False)
    if one.expected is not None:
        output.out(f"  right: {as_text(one.expected)}", highlight=False)
