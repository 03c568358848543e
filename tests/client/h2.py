"""The hosts of fake.py over HTTP/2: by prior knowledge, or by ALPN over TLS."""

import asyncio
from typing import Any

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded, StreamReset

from tests.client.fake import Host


class Http2(Host):
    """A mixin of Host: each request is a stream, all of them on one connection."""

    streams = 0

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        h2.initiate_connection()
        answering: dict[int, asyncio.Task[None]] = {}
        requests: dict[int, tuple[dict[str, str], bytearray]] = {}
        try:
            writer.write(h2.data_to_send())
            while data := await reader.read(65536):
                for event in h2.receive_data(data):
                    stream: Any = getattr(event, "stream_id", None)
                    if isinstance(event, RequestReceived):
                        headers: dict[Any, Any] = dict(event.headers)
                        requests[stream] = headers, bytearray()
                    elif isinstance(event, DataReceived):
                        requests[stream][1].extend(event.data)
                        h2.acknowledge_received_data(
                            event.flow_controlled_length, stream
                        )
                    elif isinstance(event, StreamEnded):
                        work = self._answer(h2, writer, stream, *requests.pop(stream))
                        answering[stream] = asyncio.create_task(work)
                    elif isinstance(event, StreamReset) and stream in answering:
                        answering[stream].cancel()
                writer.write(h2.data_to_send())
        finally:
            for one in answering.values():
                one.cancel()
            await asyncio.gather(*answering.values(), return_exceptions=True)

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
            h2.reset_stream(stream)
        else:
            top, _, text = response.partition(b"\r\n\r\n")
            status, *fields = top.decode().split("\r\n")
            pairs: Any = [field.lower().split(": ", 1) for field in fields]
            h2.send_headers(stream, [(":status", status.split()[1]), *pairs])
            while text:
                writer.write(h2.data_to_send())
                room = h2.local_flow_control_window(stream)
                part = text[: min(room, h2.max_outbound_frame_size)]
                h2.send_data(stream, part)
                text = text[len(part) :]
                await asyncio.sleep(0 if room else 0.001)
            h2.end_stream(stream)
        writer.write(h2.data_to_send())
