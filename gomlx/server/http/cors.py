"""Cross-Origin Resource Sharing: which pages of other sites may read the answers.

With an allowed origin of "*", every response has the same headers. With others, the
response depends on the request's Origin: such a request is never for the hot protocol.
"""

from collections.abc import Iterable

from gomlx.config.schema import Cors

HeaderPairs = list[tuple[bytes, bytes]]

_REQUEST_HEADERS = (
    "Authorization",
    "Content-Encoding",
    "Content-Type",
    "If-None-Match",
    "Request-Timeout-Ms",
)
_EXPOSED = b"Cache-Status, ETag, Gomlx-Version, Retry-After"
# Shows hosts and folders: no page of another site reads it.
_HIDDEN = "v1/api/config"


class CorsRules:
    """The headers that the config asks for; none without one.

    varies: whether they depend on the request's Origin.
    """

    def __init__(self, cors: Cors | None) -> None:
        origins = cors.origins if cors else ()
        names = (*_REQUEST_HEADERS, *(cors.headers if cors else ()))
        self._is_open = "*" in origins
        self._allowed = {origin.lower().encode() for origin in origins}
        self.varies = bool(origins) and not self._is_open
        self._request_headers = ", ".join(names).encode()
        self._max_age = b"%d" % (cors.max_age_seconds if cors else 0)

    @property
    def constant(self) -> HeaderPairs:
        """The headers of each response that is for no particular origin."""
        return self.of("", b"")

    def of(self, path: str, origin: bytes) -> HeaderPairs:
        """Return the headers of a response; origin: the request's, or empty."""
        return self._headers(path, origin, [(b"expose-headers", _EXPOSED)])

    def of_preflight(self, path: str, origin: bytes, methods: bytes) -> HeaderPairs:
        """Return the headers that answer a preflight; methods: the path's."""
        return self._headers(
            path,
            origin,
            [
                (b"allow-methods", methods),
                (b"allow-headers", self._request_headers),
                (b"max-age", self._max_age),
            ],
        )

    def _headers(self, path: str, origin: bytes, more: HeaderPairs) -> HeaderPairs:
        """more: what an allowed origin gets besides, without the names' beginning."""
        found = [(b"vary", b"Origin")] if self.varies else []
        if path.lstrip("/").startswith(_HIDDEN):  # as Falcon finds a route
            return found
        if self._is_open or origin.lower() in self._allowed:
            allowed = b"*" if self._is_open else origin
            for name, value in [(b"allow-origin", allowed), *more]:
                found.append((b"access-control-" + name, value))
        return found


def as_lines(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return headers as HTTP/1.1 has them."""
    return b"".join(b"%b: %b\r\n" % header for header in headers)
