"""One request of HTTP/2 that is under way: a stream, which becomes a response."""

import asyncio

from gomlx.client.network.transport import Response


class Refused(Exception):
    """The host has not begun with the request, and nothing of it has happened."""


class Http2Stream:
    """A request under way. began: on the loop's clock."""

    __slots__ = ("began", "fields", "parts", "response")

    def __init__(self, response: "asyncio.Future[Response]", began: float) -> None:
        self.response = response
        self.began = began
        self.fields: tuple[tuple[bytes, bytes], ...] = ()
        self.parts: list[bytes] = []

    def finish(self) -> None:
        """Return the response, which is whole."""
        headers = {k.decode("latin-1"): v.decode("latin-1") for k, v in self.fields}
        status = int(headers.pop(":status"))
        parts = self.parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        if not self.response.done():  # else its caller has just been cancelled
            self.response.set_result(Response(status, headers, body))

    def fail(self, error: Exception) -> None:
        """Raise an error instead."""
        if not self.response.done():
            self.response.set_exception(error)
