"""What a check ends with: right, wrong with the requests that show it, or neither."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import orjson

from gomlx.conformance.exchange import HttpReply, HttpRequest
from gomlx.errors import GomlxError

_SHOWN_BYTES = 600


class CheckResult(StrEnum):
    """What a check found; failed: a hook or the server itself did."""

    right = "right"
    wrong = "wrong"
    skipped = "does not apply"
    failed = "failed"


@dataclass(frozen=True)
class Exchange:
    """A request, the server that got it, and its reply; how many rows were run for it.

    ran is None where nothing tells.
    """

    url: str
    request: HttpRequest
    reply: HttpReply
    ran: int | None = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON: a curl line, the status, the answer's beginning."""
        shown = self.reply.body[:_SHOWN_BYTES].decode(errors="replace")
        curl = self.request.curl(self.url)
        return {"curl": curl, "status": self.reply.status, "answer": shown}


class Wrong(GomlxError):
    """An answer that is not the model's.

    The last exchange has it, and those before led to it. expected is the right answer,
    where there is one.
    """

    def __init__(
        self, reason: str, exchanges: Sequence[Exchange], expected: Any = None
    ) -> None:
        super().__init__(reason)
        self.exchanges = tuple(exchanges)
        self.expected = expected


class DoesNotApply(GomlxError):
    """A check that does not apply to this server, protocol or call of the suite."""


@dataclass(frozen=True)
class CheckOutcome:
    """The result of a check. note is what was seen, or why the check did not apply."""

    name: str
    question: str
    result: CheckResult
    note: str
    exchanges: tuple[Exchange, ...] = ()
    expected: Any = None

    def document(self) -> dict[str, Any]:
        """Return it for JSON."""
        document: dict[str, Any] = {
            "name": self.name,
            "question": self.question,
            "result": self.result.value,
            "note": self.note,
        }
        if self.exchanges:
            document["requests"] = [one.document() for one in self.exchanges]
        if self.expected is not None:
            document["expected"] = self.expected
        return document


def as_text(value: Any) -> str:
    """Return a value as JSON on one line."""
    return orjson.dumps(value).decode()
