"""The table of all faults: on the terminal, and as a file."""

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from loadtests.bench.machine import commit, describe
from loadtests.faults.judge import Outcome

PAGE = Path(__file__).parents[1] / "results" / "faults.md"
_HEADS = (
    "fault",
    "requests",
    "wrong",
    "failed",
    "died with a process",
    "refused",
    "longest ms",
    "recovery s",
    "left behind",
)


def cells(outcome: Outcome) -> tuple[str, ...]:
    """Return a row of the table."""
    replies = outcome.replies
    recovery = "never" if outcome.recovery is None else f"{outcome.recovery:.1f}"
    return (
        outcome.name,
        f"{replies.requests:,}",
        str(len(replies.wrong)),
        str(len(replies.failed)),
        str(replies.died),
        str(replies.refused),
        f"{replies.longest * 1000:,.0f}",
        recovery,
        ", ".join(outcome.left) or "nothing",
    )


def shown(outcomes: Sequence[Outcome]) -> Table:
    """Return the table of a terminal."""
    table = Table(*_HEADS)
    for outcome in outcomes:
        style = "red" if outcome.problems else ""
        table.add_row(*cells(outcome), style=style)
    return table


def about(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return a line on the run and the machine."""
    bad = sum(1 for one in outcomes if one.problems)
    machine = describe()
    return (
        f"{len(outcomes)} faults, of which {bad} were not stood, in {seconds:.0f} s; "
        f"gomlx {commit()}, {machine['CPU']}, {machine['cores']} cores, TensorFlow "
        f"{machine.get('tensorflow-cpu', machine.get('tensorflow', '?'))}."
    )


def page(outcomes: Sequence[Outcome], skipped: Sequence[str], about_it: str) -> str:
    """Return the file. skipped: faults that could not be made, each with its reason."""
    lines = ["# Faults", "", "`python -m loadtests.faults`: " + about_it, ""]
    lines.append("| " + " | ".join(_HEADS) + " |")
    lines.append("|" + " --- |" * len(_HEADS))
    lines += ["| " + " | ".join(cells(one)) + " |" for one in outcomes]
    lines += ["", *[f"- {one.name}: {p}" for one in outcomes for p in one.problems]]
    lines += [f"- not made: {one}" for one in skipped]
    return "\n".join(lines).rstrip() + "\n"


def line(outcome: Outcome) -> str:
    """Return what is printed as soon as a fault is over."""
    name, requests, wrong, failed, died, refused, longest, recovery, left = cells(
        outcome
    )
    text = (
        f"{name}: {requests} requests, {wrong} wrong, {failed} failed, {died} died with"
        f" a process, {refused} refused, longest {longest} ms, recovery {recovery} s,"
        f" left behind: {left}"
    )
    return "\n".join([text, *[f"    {one}" for one in outcome.problems]])
