"""Frames that cost the service more than the peer: how many are too many.

The counts and the limits are Envoy's:

    streams ended before their answer   more than half, once 500 have been opened
    (premature_reset_total_stream_count; a stream a second old is not counted)
    WINDOW_UPDATE                       5 + 2 * (streams + 10 * DATA frames sent)
    (max_inbound_window_update_frames_per_data_frame_sent)

Envoy answers what else there is, by turns with other connections. Here it costs more:

    PING and its answers, SETTINGS,     1,000 + 2 * streams + 100 a second
    GOAWAY, resets, trailers, …
    frames that mean nothing: of        256 KiB
    closed streams, unknown ones, DATA
    of a few bytes each

    time to read what it sends, in      0.25 s, and a tenth of all time; beyond 0.2 ms
    the event loop                      a request and 20 us a KiB of a body

Every other limit is the engine's.
"""

from collections.abc import Sequence

from gomlx.server.http.http2.engine import DataReceived, Event, RequestReceived

_OPENED = 500
_LIFETIME_SECONDS = 1.0
_WINDOW_UPDATES = 5
_PER_DATA_FRAME = 10
_DATA_FRAME_BYTES = 1 << 14
_RARE_EVENTS = 1000
_RARE_EVENTS_A_SECOND = 100
_MEANINGLESS_BYTES = 1 << 18
_EVENT_BYTES = 16  # of frames with seven bytes or more
_SILENT_BYTES = 1 << 15  # twice the largest frame: they have the end of one
# Several times what well-behaved clients take.
_LOOP_SECONDS = 0.25
_LOOP_SHARE = 0.1
_REQUEST_SECONDS = 2e-4
_BYTE_SECONDS = 2e-8


class Noise:
    """Frames that mean nothing, in what one connection sends faster than it is read."""

    def __init__(self) -> None:
        self._bytes = 0
        self._silent_bytes = 0  # since the last event

    def is_flood(self, size: int, events: int) -> bool:
        """Count so many bytes if they said nothing; return if that is a flood.

        events: how many they brought.
        """
        self._silent_bytes = 0 if events else self._silent_bytes + size
        if self._silent_bytes >= _SILENT_BYTES:
            self._bytes += self._silent_bytes
            self._silent_bytes = 0
        elif events > size // _EVENT_BYTES:
            self._bytes += size
        return self._bytes > _MEANINGLESS_BYTES


class Traffic:
    """What one connection has received and sent.

    since: when a stream began, moved or ended, by the clock of the connections.
    last_stream: the highest number of a stream. noise: what says nothing.
    """

    def __init__(self, now: float) -> None:
        self.since = now
        self.last_stream = 0
        self._opened = 0
        self._broken_off = 0
        self._data_frames = 0
        self._window_updates = 0
        self._rare = 0
        self._began = now
        self.noise = Noise()
        self._loop_seconds = 0.0  # beyond what requests and bodies may take

    def opened(self, stream: int) -> None:
        """Count a request."""
        self.last_stream = stream
        self._opened += 1

    def sent(self, size: int) -> None:
        """Count what was sent while bodies waited, as so many DATA frames at least."""
        self._data_frames += 1 + size // _DATA_FRAME_BYTES

    def broken_off(self, seconds: float) -> bool:
        """Count a stream that ended unanswered, so old; return if that is a flood."""
        if seconds < _LIFETIME_SECONDS:
            self._broken_off += 1
        return self._opened >= _OPENED and 2 * self._broken_off > self._opened

    def window_updated(self) -> bool:
        """Count a WINDOW_UPDATE; return if that is a flood."""
        self._window_updates += 1
        allowed = self._opened + _PER_DATA_FRAME * self._data_frames
        return self._window_updates > _WINDOW_UPDATES + 2 * allowed

    def is_rare(self, now: float) -> bool:
        """Count what few clients send often; return if that is a flood."""
        self._rare += 1
        allowed = 2 * self._opened + _RARE_EVENTS_A_SECOND * (now - self._began)
        return self._rare > _RARE_EVENTS + allowed

    def kept_loop(self, seconds: float, events: Sequence[Event], now: float) -> bool:
        """Count how long much at once took to read; return if that is a flood."""
        for event in events:
            if isinstance(event, RequestReceived):
                seconds -= _REQUEST_SECONDS
            elif isinstance(event, DataReceived):
                seconds -= _BYTE_SECONDS * len(event.data)
        if seconds > 0:
            self._loop_seconds += seconds
        allowed = _LOOP_SECONDS + _LOOP_SHARE * (now - self._began)
        return self._loop_seconds > allowed
