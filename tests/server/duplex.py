"""Clients that write a request's body while they read the response's.

Both have `send`, `end`, `line` (None at the end of the response) and `close`.
"""

import json
import socket
import ssl
from typing import Any

import h2.config
import h2.connection
import h2.errors
import h2.events
import httpx

Client = Any  # of Http1 and Http2
Tls = ssl.SSLContext | None


def path(model: str) -> str:
    return f"/v1/api/model/{model}/stream"


def connected(url: str, tls: Tls, *protocols: str) -> socket.socket:
    """Return a socket; with TLS one that has agreed on a protocol."""
    address = httpx.URL(url)
    made = socket.create_connection((address.host, address.port), 30)
    if tls is None:
        return made
    tls.set_alpn_protocols(protocols)
    secured = tls.wrap_socket(made, server_hostname=address.host)
    assert secured.selected_alpn_protocol() in protocols
    return secured


class Http1:
    """Chunks over HTTP/1.1."""

    def __init__(self, url: str, model: str, tls: Tls = None) -> None:
        self.socket = connected(url, tls, "http/1.1")
        self._file = self.socket.makefile("rb")
        self._text = b""
        self.headers: dict[str, str] = {}
        head = f"POST {path(model)} HTTP/1.1\r\nHost: x\r\n"
        self.socket.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def line(self) -> dict[str, Any] | None:
        if not self.headers:
            self._read_head()
        while b"\n" not in self._text:
            size = int(self._file.readline(), 16)
            self._text += self._file.read(size)
            assert self._file.read(2) == b"\r\n"
            if not size:
                assert not self._text
                return None
        text, _, self._text = self._text.partition(b"\n")
        document: dict[str, Any] = json.loads(text)
        return document

    def _read_head(self) -> None:
        self.status = int(self._file.readline().split()[1])
        while (text := self._file.readline().decode().strip()) != "":
            name, _, value = text.partition(": ")
            self.headers[name.lower()] = value

    def close(self) -> None:
        self._file.close()
        self.socket.close()


class Http2:
    """One stream of HTTP/2, known beforehand without TLS.

    reads: False withholds the credit that the server needs to send.
    """

    def __init__(self, url: str, model: str, tls: Tls = None) -> None:
        self.socket = connected(url, tls, "h2")
        config = h2.config.H2Configuration(header_encoding="utf-8")
        self._h2 = h2.connection.H2Connection(config)
        self._h2.initiate_connection()
        scheme = "https" if tls else "http"
        pseudo = {"method": "POST", "path": path(model), "scheme": scheme}
        headers = [(f":{name}", value) for name, value in pseudo.items()]
        self._h2.send_headers(1, [*headers, (":authority", "x")])
        self._flush()
        self._text = b""
        self._is_ended = False
        self.reads = True
        self.headers: dict[str, str] = {}

    @property
    def credit(self) -> int:
        """How many bytes the server is ready to take."""
        return self._h2.local_flow_control_window(1)

    def send(self, data: bytes) -> None:
        while data:
            size = min(self.credit, self._h2.max_outbound_frame_size)
            if size:
                self._h2.send_data(1, data[:size])
                self._flush()
                data = data[size:]
            else:
                self.receive()

    def end(self) -> None:
        self._h2.end_stream(1)
        self._flush()

    def line(self) -> dict[str, Any] | None:
        while b"\n" not in self._text:
            if self._is_ended:
                assert not self._text
                return None
            self.receive()
        text, _, self._text = self._text.partition(b"\n")
        document: dict[str, Any] = json.loads(text)
        return document

    def receive(self, seconds: float = 30) -> None:
        """Wait for something of the server. Raises TimeoutError."""
        self.socket.settimeout(seconds)
        data = self.socket.recv(1 << 16)
        assert data, "the server closed the connection"
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.headers = dict(event.headers)  # type: ignore[arg-type]
                self.status = int(self.headers[":status"])
            elif isinstance(event, h2.events.DataReceived):
                self._text += event.data
                if self.reads:
                    self._h2.acknowledge_received_data(event.flow_controlled_length, 1)
            elif isinstance(event, h2.events.StreamEnded):
                self._is_ended = True
            elif isinstance(event, h2.events.StreamReset):
                # Without an error: the server wants no more of the body.
                assert event.error_code == h2.errors.ErrorCodes.NO_ERROR
        self._flush()

    def read_on(self) -> None:
        """Give the credit that was withheld."""
        self.reads = True
        self._h2.acknowledge_received_data(len(self._text), 1)
        self._flush()

    def _flush(self) -> None:
        self.socket.sendall(self._h2.data_to_send())

    def close(self) -> None:
        self.socket.close()
