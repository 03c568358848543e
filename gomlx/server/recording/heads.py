"""Which requests are recorded: those of a sampled traceparent, or chosen by chance.

No two requests have the same traceparent, so a head with one is never among the heads
that are kept. It is taken out: what remains is parsed once. Of a request that is not
recorded, nothing but the last digit of its flags is looked at.
"""

import re
from dataclasses import dataclass, fields
from math import inf, log
from random import Random
from typing import Protocol

from gomlx.runtime.randomness import RANDOM
from gomlx.server.http.head import (
    TRACEPARENT,
    Head,
    HeadParser,
    ParseHead,
    ParsesHeads,
)
from gomlx.server.predict.request import Requester
from gomlx.tracing.parent import Parent, sampled_parent

_VALUE_BYTES = 55  # of version 00
_SAMPLED_DIGITS = frozenset(b"13579bdf")
_RETURN = 13  # a carriage return
_DIGITS = b"0123456789abcdef-"
_USUAL_FORM = b"\r\n%b: " % TRACEPARENT
_FIELD = re.compile(rb"\r\n%b:[ \t]*([!-~]*)[ \t]*(?=\r\n)" % TRACEPARENT, re.I)
_MOST_FORMS = 8
_MOST_SIZES = 64  # of heads, for each form
# What a head has around its traceparent: the bytes before and after it; where it begins
# and ends; what the head says; the generation of the parser when it said so.
_Around = tuple[bytes, bytes, int, int, Head | None, int]
_NOTHING: _Around = (b"\0", b"", 0, 0, None, 0)
_ROUTE = "/v1/api/model/{name}"


class AnswersLines(Protocol):
    """What answers the lines of a recorded stream."""

    def predict(self, requester: Requester, /) -> None:
        """Answer a line."""

    def end(self) -> None:
        """Send what is recorded: the stream has ended."""


class RecordsRequests(Protocol):
    """What answers recorded requests."""

    def predict(
        self,
        name: str,
        requester: Requester,
        parent: Parent | None,
        about: dict[str, str | int | float | bool],
        /,
    ) -> None:
        """Answer a request for a model that is there. about: what its span tells."""

    def stream(
        self,
        name: str,
        parent: Parent | None,
        about: dict[str, str | int | float | bool],
        /,
    ) -> AnswersLines:
        """Return what answers the lines of a stream for a model that is there."""

    async def close(self) -> None:
        """Send what is recorded, for a moment."""


@dataclass(frozen=True, slots=True)
class RecordedHead(Head):
    """The head of a request that is recorded. start: what its span begins with."""

    start: "SpanStart | None" = None

    def predict(self, requester: Requester) -> None:
        """Have the request answered, and recorded."""
        assert self.start is not None
        self.start.predict(
            self.model, requester, "POST" if self.query is None else "GET"
        )


@dataclass(frozen=True)
class SpanStart:
    """What the span of a recorded request begins with. parent: None: chance chose it.

    protocol: the version of HTTP.
    """

    recorder: RecordsRequests
    parent: Parent | None
    protocol: str

    def predict(self, model: str, requester: Requester, method: str) -> None:
        """Have a request answered, and recorded."""
        about = self._about(model, method, "eval")
        self.recorder.predict(model, requester, self.parent, about)

    def stream(self, model: str) -> AnswersLines:
        """Return what answers the lines of a stream, and records them."""
        about = self._about(model, "POST", "stream")
        return self.recorder.stream(model, self.parent, about)

    def _about(
        self, model: str, method: str, route: str
    ) -> dict[str, str | int | float | bool]:
        return {
            "http.request.method": method,
            "http.route": f"{_ROUTE}/{route}",
            "network.protocol.version": self.protocol,
            "gomlx.model": model,
        }


class Recording:
    """Decides which requests are recorded, for all connections of a worker.

    recorder: what answers these. ratio: of the requests without a traceparent that says
    whether they are, so many are; about, as a request that arrives in parts may be
    counted twice.
    """

    def __init__(
        self,
        recorder: RecordsRequests | None = None,
        ratio: float = 0.0,
        random: Random = RANDOM,
    ) -> None:
        self.recorder = recorder
        self._ratio = ratio if recorder else 0.0
        self._random = random
        self._before_next = 0.0  # how many requests are not recorded before the next
        self._draw()

    @property
    def is_by_chance(self) -> bool:
        """Whether a request may be recorded that no traceparent asks for."""
        return self._ratio > 0

    def is_next(self) -> bool:
        """Count a request; return whether it is to be recorded."""
        self._before_next -= 1
        return self._before_next < 0

    def taken(self, head: Head, protocol: str) -> Head:
        """Return the head of a request that chance has chosen, for that."""
        assert self.recorder is not None
        self._draw()
        return _recorded(head, SpanStart(self.recorder, None, protocol))

    def start_of(self, value: bytes, protocol: str) -> SpanStart | None:
        """Return what a traceparent has recorded; None: it has nothing recorded."""
        if self.recorder is None:
            return None
        parent = sampled_parent(value.decode("latin-1"))
        return SpanStart(self.recorder, parent, protocol) if parent else None

    def head(self, head: Head, value: bytes, protocol: str) -> Head:
        """Return the head of a request with a traceparent, whether recorded or not."""
        start = self.start_of(value, protocol)
        return _recorded(head, start) if start else head

    async def close(self) -> None:
        """Send what is recorded, for a moment: this process is about to end."""
        if self.recorder is not None:
            await self.recorder.close()

    def _draw(self) -> None:
        """Draw how many requests pass until one is recorded: all are equally likely."""
        ratio = self._ratio
        if ratio <= 0:
            self._before_next = inf
        elif ratio >= 1:
            self._before_next = 0
        else:
            chance = 1 - self._random.random()  # not 0, whose logarithm there is none
            self._before_next = int(log(chance) / log(1 - ratio))


class TracingHeadParser(HeadParser):
    """A HeadParser that knows traceparent, and which requests are recorded.

    recording: decides that.
    """

    def __init__(
        self,
        routes: dict[bytes, str],
        max_body: int,
        max_seconds: float,
        is_origin_usual: bool = True,
    ) -> None:
        """No request is recorded, until `record`."""
        super().__init__(routes, max_body, max_seconds, is_origin_usual)
        self.recording = Recording()
        self._forms: dict[bytes, ParseHead] = {}

    def record(self, recording: Recording) -> None:
        """Have requests recorded. Called before there are connections."""
        self.recording = recording

    @property
    def keeps_heads(self) -> bool:
        return not self.recording.is_by_chance

    def certified(self, names: frozenset[str]) -> "TracingHeadParser":
        """Return the parser for connections whose client's certificate has names."""
        parser = super().certified(names)
        assert isinstance(parser, TracingHeadParser)  # as `_anew` makes them
        return parser

    def for_connection(self) -> ParsesHeads:
        """Return what parses the heads of a new connection."""
        if self.recording.recorder is None:
            return self
        return _RecordedHeads(self, self._short_with(_USUAL_FORM))

    def _anew(self) -> HeadParser:
        parser = TracingHeadParser(self._routes, self.max_body, self.max_seconds)
        parser.record(self.recording)
        return parser

    def short_for(self, head: bytes) -> ParseHead | None:
        """Return what parses short heads that have their traceparent as this one has.

        It returns None for those of requests that are recorded: `read` them.
        """
        found = _FIELD.search(head)
        if found is None:
            return None
        form = head[found.start() : found.start(1)]
        if form not in self._forms and len(self._forms) < _MOST_FORMS:
            self._forms[form] = self._short_with(form)
        return self._forms.get(form)

    def read(self, head: bytes) -> Head | None:
        """Return what the head says; None: its request is for no hot route."""
        recording = self.recording
        found = _FIELD.search(head)
        if found is None:
            parsed = self.short(head) if recording.is_by_chance else None
            return parsed and recording.taken(parsed, "1.1")
        parsed = self.short(head[: found.start()] + head[found.end() :])
        return parsed and recording.head(parsed, found[1], "1.1")

    def _short_with(self, form: bytes) -> ParseHead:
        """Return what parses short heads whose traceparent begins like this."""
        return _TracedHeads(self, self.recording, form).short


class _TracedHeads:
    """Parses short heads whose traceparent, if they have one, begins with a form.

    The result is None for requests that are recorded, and for what is not plain.
    """

    def __init__(self, parser: HeadParser, recording: Recording, form: bytes) -> None:
        self._parser = parser
        self._parse = parser.short
        self._form = form
        self._records = recording.recorder is not None
        self._is_next = recording.is_next if recording.is_by_chance else None
        self._around: dict[int, _Around] = {}  # by the size of a head

    def short(self, head: bytes) -> Head | None:
        """Parse a head.

        PERF: of each request on a connection that has sent a traceparent. Heads of one
        size are alike, as a rule, in all but the value.
        """
        known = self._around.get(len(head), _NOTHING)
        before, after, begin, end, found, generation = known
        if (
            head.startswith(before)
            and head.startswith(after, end)
            and not head[begin:end].translate(None, _DIGITS)
            and not (self._records and head[end - 1] in _SAMPLED_DIGITS)
            and generation == self._parser.generation
        ):
            return found
        return self._parse_other(head)

    def _parse_other(self, head: bytes) -> Head | None:
        at = head.find(self._form)
        if at < 0:
            is_next = self._is_next
            return None if is_next is not None and is_next() else self._parse(head)
        begin = at + len(self._form)
        end = begin + _VALUE_BYTES
        if head[begin:end].translate(None, _DIGITS) or head[end] != _RETURN:
            return None  # another field might be in it
        if self._records and head[end - 1] in _SAMPLED_DIGITS:
            return None
        found = self._parse(head[:at] + head[end:])
        if len(self._around) >= _MOST_SIZES:
            self._around.clear()
        generation = self._parser.generation
        known = (head[:begin], head[end:], begin, end, found, generation)
        self._around[len(head)] = known
        return found


@dataclass(frozen=True)
class _RecordedHeads:
    """Parses heads of a connection where chance chooses requests, too.

    short: returns None for those of requests that are recorded: `read` them.
    """

    parser: TracingHeadParser
    short: ParseHead

    def __call__(self, head: bytes) -> Head | None:
        return None if self.parser.recording.is_next() else self.parser(head)

    def short_for(self, head: bytes) -> ParseHead | None:
        return self.parser.short_for(head)

    def read(self, head: bytes) -> Head | None:
        return self.parser.read(head)


def _recorded(head: Head, start: SpanStart) -> RecordedHead:
    options = {one.name: getattr(head, one.name) for one in fields(Head)}
    return RecordedHead(**options, start=start)
