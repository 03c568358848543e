"""HTTP/2 without I/O: bytes in, events out; answers in, bytes out.

The one file that knows the library, ngh2, which binds libnghttp2: to use another one,
write this class and these events again. Frames, HPACK, flow control and the rules of
RFC 9113 are the library's; whose request it is, and how long anything may take, is the
connection's.

The limits are those of Envoy's edge (floods.py has those that are counted there). Where
the library finds one exceeded, it says GOAWAY with ENHANCE_YOUR_CALM itself, or raises;
then nothing more can be sent through it, and `goaway` makes the frame.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cache

from ngh2 import (
    Configuration,
    Connection,
    ConnectionClosed,
    ConnectionStateError,
    DataReceived,
    DenialOfServiceError,
    ErrorCode,
    Event,
    Header,
    NGH2Error,
    PingAcknowledged,
    RequestReceived,
    Role,
    Setting,
    StreamClosed,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)

__all__ = [
    "ConnectionClosed",
    "DataReceived",
    "Engine",
    "EngineFailed",
    "ErrorCode",
    "Event",
    "Header",
    "PingAcknowledged",
    "RequestReceived",
    "StreamClosed",
    "StreamReset",
    "TrailersReceived",
    "WindowUpdated",
]

_STREAMS = 128  # RFC 9113: no less than 100
_STREAM_WINDOW = 1 << 16
_CONNECTION_WINDOW = 1 << 20
# A list of headers over the limit of the config and below this gets a 431. One over
# this, and over twice that, ends the connection.
_HEADER_BYTES = 1 << 16
_FRAME_BYTES = 1 << 14
_CONTINUATIONS = 8
_GOAWAY = 7

_SETTINGS = {
    Setting.MAX_CONCURRENT_STREAMS: _STREAMS,
    Setting.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    Setting.NO_RFC7540_PRIORITIES: 1,
}


@cache
def _configuration(header_bytes: int) -> Configuration:
    return Configuration(
        # A window opens when the application has taken what was received.
        auto_window_update=False,
        # CONTINUATION frames of one list of headers; its size when unpacked.
        max_continuations=max(_CONTINUATIONS, 2 * header_bytes // _FRAME_BYTES),
        max_inbound_header_list_size=max(_HEADER_BYTES, 2 * header_bytes),
        # Answers to PING and SETTINGS that wait to be sent.
        max_outbound_ack=1000,
        # Frames that mean nothing (PRIORITY, empty DATA, unknown): at once; a second.
        glitch_rate_limit=(1000, 100),
        # RST_STREAM is limited by what it breaks off, not by how often it comes.
        stream_reset_rate_limit=(100_000, 10_000),
    )


class EngineFailed(Exception):
    """The peer has broken a rule or a limit, and the engine can do no more.

    code: of the GOAWAY that says so.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class Engine:
    """One connection of HTTP/2, the server's side."""

    events: Callable[[], Sequence[Event]]
    data_to_send: Callable[[int], bytes]

    def __init__(self, header_bytes: int) -> None:
        """header_bytes: what a list of headers has at most, else it gets a 431."""
        configuration = _configuration(header_bytes)
        self._connection = connection = Connection(Role.SERVER, configuration)
        # PERF: called for each turn of the event loop; a method of ours would be a
        # second call. What has happened since the last call; up to so many bytes for
        # the peer, as far as its windows allow.
        self.events = connection.events
        self.data_to_send = connection.data_to_send

    def start(self) -> None:
        """Begin with the client's preface to come."""
        self._connection.initiate_connection(_SETTINGS)
        self._connection.set_local_window_size(_CONNECTION_WINDOW)

    def upgrade(self, settings: bytes, is_head: bool) -> None:
        """Begin after an Upgrade: its request is stream 1, and its body is known.

        settings: the payload of HTTP2-Settings. Raises EngineFailed.
        """
        try:
            self._connection.initiate_upgrade(
                settings, local_settings=_SETTINGS, head_request=is_head
            )
            self._connection.set_local_window_size(_CONNECTION_WINDOW)
        except (NGH2Error, ValueError) as error:
            raise EngineFailed(ErrorCode.PROTOCOL_ERROR, str(error)) from None

    def receive(self, data: bytes | memoryview) -> Sequence[Event]:
        """Return what the peer's bytes mean. Raises EngineFailed."""
        try:
            self._connection.receive_data(data)
        except ConnectionStateError:
            return ()  # it has ended
        except DenialOfServiceError as error:
            raise EngineFailed(ErrorCode.ENHANCE_YOUR_CALM, str(error)) from None
        except NGH2Error as error:
            raise EngineFailed(ErrorCode.PROTOCOL_ERROR, str(error)) from None
        return self.events()

    def consume(self, size: int, stream: int) -> None:
        """Let the peer send so many bytes more: what it sent has been taken."""
        try:
            self._connection.acknowledge_received_data(size, stream)
        except (NGH2Error, ValueError):
            return  # it has ended; or it is an Upgrade's body, which was in no window

    # What is sent on a stream or a connection that has ended is dropped: its event is
    # to come, or has come.

    def respond(self, stream: int, fields: Iterable[Header], body: bytes) -> None:
        """Send a whole response."""
        connection = self._connection
        try:
            connection.send_response(stream, fields)
            connection.send_data(stream, body, end_stream=True)
        except NGH2Error:
            return

    def start_response(
        self, stream: int, fields: Iterable[Header], is_whole: bool
    ) -> None:
        """Send the head of a response; is_whole: it has no body."""
        try:
            self._connection.send_response(stream, fields, end_stream=is_whole)
        except NGH2Error:
            return

    def send_data(self, stream: int, data: bytes | memoryview, is_last: bool) -> None:
        """Send a part of a response's body."""
        try:
            self._connection.send_data(stream, data, end_stream=is_last)
        except NGH2Error:
            return

    def ask_for_body(self, stream: int) -> None:
        """Send 100 Continue."""
        try:
            self._connection.send_informational_response(stream, [(b":status", b"100")])
        except NGH2Error:
            return

    def reset(self, stream: int, code: int) -> None:
        """End a stream at once; what waits on it is dropped."""
        try:
            self._connection.reset_stream(stream, code)
        except NGH2Error:
            return

    def unsent(self, stream: int | None = None) -> int:
        """Return how many bytes of bodies wait for windows, of one stream or of all."""
        try:
            return self._connection.queued_body_size(stream)
        except NGH2Error:
            return 0

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to read or to write."""
        return not (self._connection.want_read or self._connection.want_write)

    def warn(self) -> None:
        """Say that the connection will end, and ask for a sign that this is known."""
        try:
            self._connection.send_shutdown_notice()
            self._connection.ping()
        except NGH2Error:
            return

    def refuse_streams(self) -> None:
        """Say that no further stream is answered."""
        try:
            self._connection.send_goaway(ErrorCode.NO_ERROR)
        except NGH2Error:
            return


def goaway(last_stream: int, code: int) -> bytes:
    """Return the frame, for when the engine can make none."""
    payload = last_stream.to_bytes(4, "big") + int(code).to_bytes(4, "big")
    return len(payload).to_bytes(3, "big") + bytes((_GOAWAY, 0, 0, 0, 0, 0)) + payload
