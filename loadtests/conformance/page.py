"""The section of results/conformance.md that a run writes."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from gomlx.conformance.suite import CHECKS
from gomlx.conformance.verdict import CheckOutcome, CheckResult, as_text
from loadtests.bench.results import FOLDER, table
from loadtests.conformance.servers import Trial

PAGE = FOLDER / "conformance.md"
BEGIN = "<!-- python -m loadtests.conformance: begin -->"
END = "<!-- python -m loadtests.conformance: end -->"


@dataclass(frozen=True)
class Tried:
    """A server and what the suite found."""

    trial: Trial
    outcomes: Sequence[CheckOutcome]


def write(tried: Sequence[Tried], date: str) -> None:
    """Replace the page's section by the results of a run."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    text = "\n".join([before + BEGIN, *section(tried, date), END + after])
    PAGE.write_text(text)


def section(tried: Sequence[Tried], date: str) -> Iterator[str]:
    """Yield the lines of the results."""
    yield from (f"Run on {date}.", "")
    yield from table(
        ("server", "versions", "cache"),
        [(one.trial.name, _versions(one.trial), one.trial.cache) for one in tried],
    )
    yield ""
    names = [one.trial.name for one in tried]
    yield from table(("check", *names), list(_rows(tried)))
    yield ""
    for one in tried:
        yield from _remarks(one)
    for one in tried:
        yield from _wrong(one)


def _versions(trial: Trial) -> str:
    return ", ".join(f"{name} {version}" for name, version in trial.versions.items())


def _rows(tried: Sequence[Tried]) -> Iterator[list[str]]:
    for check in CHECKS:
        results = [
            _shown(outcome.result)
            for one in tried
            for outcome in one.outcomes
            if outcome.name == check.name
        ]
        yield [f"`{check.name}`", *results]


def _shown(result: CheckResult) -> str:
    shown = {CheckResult.wrong: "**wrong**", CheckResult.skipped: ""}
    return shown.get(result, result.value)


def _remarks(one: Tried) -> Iterator[str]:
    yield from (f"## What was seen of {one.trial.name}", "")
    rows = [
        (f"`{outcome.name}`", outcome.result.value, _cell(outcome.note))
        for outcome in one.outcomes
    ]
    yield from table(("check", "result", "what was seen, or why not"), rows)
    yield ""


def _cell(note: str) -> str:
    return note.replace("|", "\\|").replace("\n", " ")


def _wrong(one: Tried) -> Iterator[str]:
    wrong = [x for x in one.outcomes if x.result is CheckResult.wrong]
    if not wrong:
        return
    yield from (f"## The wrong answers of {one.trial.name}", "")
    for outcome in wrong:
        yield from (f"`{outcome.name}`: {_cell(outcome.note)}", "", "```text")
        yield from _requests(outcome)
        yield from ("```", "")


def _requests(outcome: CheckOutcome) -> Iterable[str]:
    for exchange in outcome.exchanges:
        document = exchange.document()
        yield document["curl"]
        yield f"  {document['status']} {document['answer']}"
    if outcome.expected is not None:
        yield f"  right: {as_text(outcome.expected)}"
