"""The token that a client sends, for services that want one (`endpoint.auth`)."""

from gomlx.client.network.transport import Request, Response, Transport
from gomlx.client.options import Options
from gomlx.errors import Unauthorized
from gomlx.runtime.secret_file import Stamp, secret_lines, stamp


def authorized(transport: Transport, options: Options) -> Transport:
    """Return a transport whose requests have the token of the options, if any."""
    if options.token is None and options.token_file is None:
        return transport
    return AuthorizedTransport(transport, options.token or "", options.token_file)


class AuthorizedTransport:
    """A Transport that sends by another one, with the header Authorization.

    path: a file of tokens, whose first one counts; it is read again when it changes.
    """

    def __init__(self, transport: Transport, token: str, path: str | None) -> None:
        self._transport = transport
        self._token = token
        self._path = path
        self._stamp: Stamp | None = None  # of the file as it was read

    async def send(self, request: Request) -> Response:
        """See Transport. Raises Unauthorized for a file that has never been valid."""
        self._look()
        headers = {**request.headers, "Authorization": f"Bearer {self._token}"}
        return await self._transport.send(Request(request.url, headers, request.body))

    async def close(self) -> None:
        """See Transport."""
        await self._transport.close()

    def _look(self) -> None:
        if self._path is None or (found := stamp(self._path)) == self._stamp:
            return
        try:
            self._token = _first_token(self._path)
            self._stamp = found
        except Unauthorized:  # it may be in the middle of being written
            if not self._token:
                raise


def _first_token(path: str) -> str:
    """Return the first token of a file. Raises Unauthorized."""
    try:
        return next(iter(secret_lines(path).values()))
    except StopIteration:
        reason = "expected a token"
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise Unauthorized(f"token_file: {path}: {reason}")
