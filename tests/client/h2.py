"""The hosts of fake.py over HTTP/2: by prior knowledge, or by ALPN over TLS."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset
from h2.settings import Settings

from tests.client.fake import Host


class Http2(Host):
    """A mixin of Host: each request is a stream, all of them on one connection.

    settings: of the connection, as h2 has them. reset_code: of a stream whose request
    is not answered. early: the response to each head, before the body has arrived.
    deaf: the connection, counted from 1, that is not read from. open: how many are.
    resets: the streams that clients have reset.
    """

    settings: Mapping[Any, int] = MappingProxyType({})
    streams = 0
    reset_code = 0
    early = b""
    deaf = 0
    open = 0

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.resets: list[int] = []

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        number = self.connections
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        h2.local_settings = Settings(client=False, initial_values={**self.settings})
        h2.initiate_connection()
        self.open += 1
        answering: dict[int, asyncio.Task[None]] = {}
        requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        try:
            writer.write(h2.data_to_send())
            while data := await reader.read(65536):
                if number == self.deaf:
                    continue
                for event in h2.receive_data(data):
                    self._note(event, h2, requests)
                    stream: Any = getattr(event, "stream_id", None)
                    if isinstance(event, StreamEnded):
                        work = self._answer(h2, writer, stream, *requests.pop(stream))
                        answering[stream] = asyncio.create_task(work)
                    elif isinstance(event, StreamReset) and stream in answering:
                        answering[stream].cancel()
                writer.write(h2.data_to_send())
        finally:
            self.open -= 1
            for one in answering.values():
                one.cancel()
            await asyncio.gather(*answering.values(), return_exceptions=True)

    def _note(self, event: Any, h2: H2Connection, requests: dict[int, Any]) -> None:
        if isinstance(event, RequestReceived):
            requests[event.stream_id] = dict(event.headers), bytearray()
            if self.early:
                self._begin(h2, event.stream_id, self.early)
                h2.end_stream(event.stream_id)
        elif isinstance(event, DataReceived):
            requests[event.stream_id][1].extend(event.data)
            size = event.flow_controlled_length
            h2.acknowledge_received_data(size, event.stream_id)
        elif isinstance(event, StreamReset):
            self.resets.append(event.stream_id)

    async def _answer(
        self,
        h2: H2Connection,
        writer: asyncio.StreamWriter,
        stream: int,
        headers: dict[str, str],
        body: bytearray,
    ) -> None:
        self.streams += 1
        lines = "".join(f"{k}: {v}\r\n" for k, v in headers.items() if k[0] != ":")
        head = f"{headers[':method']} {headers[':path']} HTTP/2\r\n{lines}\r\n"
        self.heads.append(head)
        if headers[":method"] == "GET":
            response: bytes | None = self._contract(head)
        else:
            self.bodies.append(bytes(body))
            response = await self.respond(bytes(body), writer)
        if response is None:
            h2.reset_stream(stream, self.reset_code)
        elif not self.early:
            text = self._begin(h2, stream, response)
            while text:
                writer.write(h2.data_to_send())
                room = h2.local_flow_control_window(stream)
                part = text[: min(room, h2.max_outbound_frame_size)]
                h2.send_data(stream, part)
                text = text[len(part) :]
                await asyncio.sleep(0 if room else 0.001)
            h2.end_stream(stream)
        writer.write(h2.data_to_send())

    def _begin(self, h2: H2Connection, stream: int, response: bytes) -> bytes:
        """Send the head of a response, and return its body."""
        top, _, text = response.partition(b"\r\n\r\n")
        status, *fields = top.decode().split("\r\n")
        pairs: Any = [field.lower().split(": ", 1) for field in fields]
        h2.send_headers(stream, [(":status", status.split()[1]), *pairs])
        return text
