"""Bodies of responses that are compressed."""

import gzip
import zlib

from gomlx.client.network.transport import Response
from gomlx.errors import BadResponse


def decoded(response: Response) -> Response:
    """Return a response with its body as it is meant. Raises BadResponse."""
    if response.headers.get("content-encoding") != "gzip":
        return response
    try:
        body = gzip.decompress(response.body)
    except (OSError, EOFError, zlib.error) as error:
        raise BadResponse(f"not gzip: {error}") from None
    return Response(response.status, response.headers, body)
