"""A client of HTTP/2 for tests: requests, raw frames, and what comes back."""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import ngh2

Pairs = Iterable[tuple[bytes, bytes]]
# A GET of / in HPACK, without a name in it that a table would have to hold.
GET_ROOT = bytes((0x82, 0x84, 0x86, 0x41, 1, ord("h")))
HEADERS, PRIORITY, RST_STREAM, SETTINGS, PING = 1, 2, 3, 4, 6
DATA, WINDOW_UPDATE, CONTINUATION, UNKNOWN = 0, 8, 9, 0x55
GOAWAY = 7
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """Return one frame."""
    head = len(payload).to_bytes(3, "big") + bytes((kind, flags))
    return head + stream.to_bytes(4, "big") + payload


@dataclass
class Answer:
    """What came back on one stream. error: of its reset."""

    status: int = 0
    informed: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    is_complete: bool = False
    error: int | None = None

    @property
    def document(self) -> Any:
        return json.loads(self.body)


class Client:
    """One connection. goaways: the errors that the server gave."""

    def __init__(self, reads: bool = True) -> None:
        """reads: False grants no more than the first windows."""
        configuration = ngh2.Configuration(auto_window_update=reads)
        self.h2 = ngh2.Connection(ngh2.Role.CLIENT, configuration)
        self.answers: dict[int, Answer] = {}
        self.goaways: list[int] = []
        self.is_closed = False

    def start(self, settings: dict[int, int] | None = None) -> None:
        self.h2.initiate_connection(settings)

    def request(
        self, method: str, path: str, body: bytes | None = None, more: Pairs = ()
    ) -> int:
        """Send a request; without a body its stream ends, with one it does as well."""
        number = self.begin(method, path, more, ends=body is None)
        if body is not None:
            self.h2.send_data(number, body, end_stream=True)
        return number

    def begin(
        self, method: str, path: str, more: Pairs = (), ends: bool = False
    ) -> int:
        """Send the head of a request."""
        pseudo = {"method": method, "path": path, "scheme": "http", "authority": "h"}
        fields = [(b":" + k.encode(), v.encode()) for k, v in pseudo.items()]
        number = self.h2.send_request([*fields, *more], end_stream=ends)
        self.answers[number] = Answer()
        return number

    def receive(self, data: bytes) -> None:
        """Note what the server's bytes mean; none: it has closed."""
        self.is_closed = not data
        if data:
            with suppress(ngh2.ConnectionStateError):  # what follows the last GOAWAY
                self.h2.receive_data(data)
        for event in self.h2.events():
            self._note(event)

    def _note(self, event: Any) -> None:
        match event:
            case ngh2.InformationalResponseReceived():
                status = int(dict(event.headers)[b":status"])
                self.answers[event.stream_id].informed.append(status)
            case ngh2.ResponseReceived():
                answer = self.answers.setdefault(event.stream_id, Answer())
                pairs = ((k.decode(), v.decode()) for k, v in event.headers)
                answer.headers = dict(pairs)
                answer.status = int(answer.headers.pop(":status"))
                answer.is_complete = event.end_stream
            case ngh2.DataReceived():
                answer = self.answers[event.stream_id]
                answer.body += event.data
                answer.is_complete = event.end_stream
            case ngh2.StreamReset():
                self.answers[event.stream_id].error = event.error_code
            case ngh2.GoAwayReceived():
                self.goaways.append(event.error_code)


class AsyncClient(Client):
    """One over asyncio's streams."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def connect(self, port: int, settings: Any = None) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        self.start(settings)
        self.flush()

    def flush(self) -> None:
        """Send what was asked for."""
        with suppress(ngh2.ConnectionStateError):
            self.writer.write(self.h2.data_to_send())

    async def until(self, condition: Callable[[], object]) -> None:
        """Send and receive until a condition holds."""
        async with asyncio.timeout(20):
            while not condition():
                self.flush()
                if condition():
                    return
                try:
                    data = await self.reader.read(1 << 16)
                except ConnectionError:
                    data = b""
                self.receive(data)
                assert data or condition(), "the server closed the connection"
            self.flush()

    async def answer(self, number: int) -> Answer:
        """Wait for a whole answer."""
        answer = self.answers[number]
        await self.until(lambda: answer.is_complete or answer.error is not None)
        return answer

    async def ask(
        self, method: str, path: str, body: bytes | None = None, more: Pairs = ()
    ) -> Answer:
        """Send a request, and wait for its answer."""
        return await self.answer(self.request(method, path, body, more))
