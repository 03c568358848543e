"""The judgement of a fault: what was wrong, failed, late, left behind."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from loadtests.faults.answers import Answers, is_same, rows_of
from loadtests.load.samples import Exchange, Samples

_VERSION = re.compile(rb"(?i)\r\ngomlx-version: *(\w+)")
_OK = 200
_LOST = 0
_NOTICED_SECONDS = 0.1  # until the loop has seen that a connection is lost
_SHOWN = 300  # bytes of a bad answer


@dataclass(frozen=True)
class Limits:
    """What a fault may do.

    longest: seconds of an answer; recovery: until all is as before. refusals: statuses
    that requests may get during it. lost: ports of clients whose connections died with
    a process that the fault killed; ends: when all processes died, from when to when,
    by the clock of time.perf_counter.
    """

    longest: float
    recovery: float
    refusals: Collection[int] = ()
    lost: Collection[int] = ()
    ends: Sequence[tuple[float, float]] = ()

    def excuses(self, port: int, ended: float) -> bool:
        """Tell whether a connection that was lost at a time died with a process."""
        is_within = (a <= ended <= b + _NOTICED_SECONDS for a, b in self.ends)
        return port in self.lost or any(is_within)


@dataclass
class Replies:
    """The replies to a load, judged. wrong, failed: each tells what was the matter."""

    requests: int
    longest: float
    wrong: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    died: int = 0
    refused: int = 0


def judge(samples: Samples, answers: Answers, limits: Limits) -> Replies:
    """Compare every answer with what the version gives that it names."""
    longest = float(samples.latency.max()) if len(samples.latency) else 0.0
    found = Replies(len(samples.due) + samples.unanswered, longest)
    if samples.unanswered:
        found.failed.append(f"{samples.unanswered} requests were never answered")
    by_version: dict[str, list[Exchange]] = {}
    ended = samples.started + samples.due + samples.latency
    columns = zip(samples.exchanges, samples.status, ended, strict=True)
    for exchange, status, at in columns:
        if status == _OK:
            by_version.setdefault(version_of(exchange), []).append(exchange)
        elif status == _LOST and limits.excuses(exchange.port, at):
            found.died += 1
        elif status in limits.refusals:
            found.refused += 1
        else:
            found.failed.append(_shown(exchange))
    for version, exchanges in by_version.items():
        found.wrong += wrong_of(answers, version, exchanges)
    return found


def version_of(exchange: Exchange) -> str:
    """Return the digest that a response names, or ""."""
    match = _VERSION.search(exchange.response)
    return match[1].decode() if match else ""


def wrong_of(
    answers: Answers, version: str, exchanges: Sequence[Exchange]
) -> list[str]:
    """Return those answers that are not what a version gives."""
    if version not in answers.paths:
        count = len(exchanges)
        return [f"{count} of version {version!r}, which was never there"] * count
    rows = rows_of([one.request for one in exchanges])
    expected = answers.expected(version, rows)
    return [
        f"{row}: {_shown(exchange)} instead of {wanted}"
        for exchange, row, wanted in zip(exchanges, rows, expected, strict=True)
        if not is_same(wanted, _data(exchange))
    ]


def _data(exchange: Exchange) -> object:
    try:
        document: Mapping[str, object] = json.loads(
            exchange.response.partition(b"\r\n\r\n")[2]
        )
        return document.get("data")
    except (ValueError, AttributeError):
        return None


def _shown(exchange: Exchange) -> str:
    if not exchange.response:
        return "its connection was lost"
    head, _, body = exchange.response.partition(b"\r\n\r\n")
    return (head[:40].split(b"\r\n")[0] + b" " + body[:_SHOWN]).decode(errors="replace")


@dataclass(frozen=True)
class Outcome:
    """One fault, judged. recovery: seconds, None if it has not recovered in time.

    left: what is there that was not there before.
    """

    name: str
    replies: Replies
    recovery: float | None
    left: list[str]
    limits: Limits

    @property
    def problems(self) -> list[str]:
        """Return what is wrong; nothing if the service has stood the fault."""
        found = _counted("wrong", self.replies.wrong)
        found += _counted("failed", self.replies.failed)
        if self.replies.longest > self.limits.longest:
            found.append(f"an answer took more than {self.limits.longest:g} s")
        if self.recovery is None:
            found.append(f"not as before within {self.limits.recovery:g} s")
        return found + [f"left behind: {one}" for one in self.left]


def _counted(what: str, problems: Sequence[str]) -> list[str]:
    return [f"{len(problems)} {what}: {problems[0]}"] if problems else []
