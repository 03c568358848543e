"""What an attack did to the other clients, and whether that is too much."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from loadtests.attack.attacker import Done
from loadtests.attack.hits import Hit

MOST_TIMES = 5  # the p99 of a quiet service


@dataclass(frozen=True)
class Delays:
    """Of hits, in ms. failed: why, and how many. again: how many took a second try."""

    count: int
    p50: float
    p99: float
    longest: float
    again: int
    failed: Counter[str]


@dataclass(frozen=True)
class Measured:
    """One attack, and the hits before, during and after it."""

    name: str
    connections: int
    done: Done
    hits: Sequence[Hit]

    @property
    def before(self) -> Sequence[Hit]:
        """The hits of a quiet service."""
        return [hit for hit in self.hits if hit.began + hit.seconds < self.done.began]

    @property
    def during(self) -> Sequence[Hit]:
        """The hits that the attack may have delayed."""
        ended = self.done.ended
        begun = [hit for hit in self.hits if hit.began < ended]
        return [hit for hit in begun if hit.began + hit.seconds >= self.done.began]

    @property
    def after(self) -> Sequence[Hit]:
        """The hits once it had ended."""
        return [hit for hit in self.hits if hit.began >= self.done.ended]


def delays(hits: Sequence[Hit]) -> Delays:
    """Return the figures of hits; those that failed count with the time they took."""
    taken = np.array([hit.seconds for hit in hits] or [0.0]) * 1000
    return Delays(
        len(hits),
        float(np.quantile(taken, 0.5)),
        float(np.quantile(taken, 0.99)),
        float(taken.max()),
        sum(hit.is_second_try for hit in hits),
        Counter(hit.problem for hit in hits if hit.problem),
    )


def quiet(attacks: Sequence[Measured]) -> Delays:
    """Return the figures before one attack: the median by p99.

    What an attack has left behind, and other programs, disturb some of them.
    """
    found = sorted([delays(attack.before) for attack in attacks], key=lambda d: d.p99)
    return found[len(found) // 2]


def problem(attack: Measured, quiet_p99: float) -> str:
    """Return what was too much, or an empty text."""
    found = delays(attack.hits)
    if found.failed:
        return "; ".join(f"{n} failed: {why}" for why, n in found.failed.items())
    times = delays(attack.during).p99 / quiet_p99
    return f"p99 {times:.1f} times quiet" if times > MOST_TIMES else ""


_COLUMNS = (
    "attack",
    "connections",
    "opened",
    "MB sent",
    "what they got",
    "hits p50, ms",
    "p99, ms",
    "longest, ms",
    "times quiet p99",
    "p99 after, ms",
    "tried again",
    "problem",
)


def rows(attacks: Sequence[Measured]) -> list[list[str]]:
    """Return the table: a quiet service, and each attack."""
    calm = quiet(attacks)
    first = ["no attack", "", "", "", "", *_times(calm), "", "", "", ""]
    return [first, *[_row(attack, calm.p99) for attack in attacks]]


def _row(attack: Measured, quiet_p99: float) -> list[str]:
    done = attack.done
    during = delays(attack.during)
    return [
        attack.name,
        f"{attack.connections}",
        f"{done.opened:,}",
        f"{done.sent / 1e6:,.1f}",
        ", ".join(f"{what}: {n:,}" for what, n in done.answers.most_common(3)),
        *_times(during),
        f"{during.p99 / quiet_p99:.1f}",
        f"{delays(attack.after).p99:.2f}",
        f"{during.again or ''}",
        problem(attack, quiet_p99),
    ]


def _times(found: Delays) -> list[str]:
    return [f"{ms:.2f}" for ms in (found.p50, found.p99, found.longest)]


def shown(attacks: Sequence[Measured]) -> Table:
    """Return the table for a terminal."""
    table = Table(*_COLUMNS)
    for row in rows(attacks):
        table.add_row(*row)
    return table


def markdown(attacks: Sequence[Measured]) -> str:
    """Return the table for a page."""
    lines = [_COLUMNS, ["---"] * len(_COLUMNS), *rows(attacks)]
    return "".join([f"| {' | '.join(line)} |\n" for line in lines])
