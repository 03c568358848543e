"""The tokens of admins: a file of the config → who may see details, or a problem."""

import logging
import re
from hmac import compare_digest

from gomlx.errors import ConfigInvalid
from gomlx.runtime.secret_file import secret_lines, stamp

log = logging.getLogger(__name__)

_is_token = re.compile(r"[\x21-\x7e]{16,512}").fullmatch
_EXPECTED = "expected a token a line, of 16 characters or more: `openssl rand -hex 32`"


class Admins:
    """The tokens of a file, which is read again when it has changed.

    If it is not valid then, the tokens in use stay.
    """

    def __init__(self, path: str) -> None:
        """Raises ConfigInvalid."""
        self._path = path
        self._stamp = stamp(path)
        self._tokens = read_tokens(path)

    def admits(self, authorization: str) -> bool:
        """Return whether an Authorization header has a token of ours."""
        self._look()
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode("utf-8", "replace")
        found = [compare_digest(given, one) for one in self._tokens]  # all: in one time
        return scheme.lower() == "bearer" and any(found)

    def _look(self) -> None:
        new = stamp(self._path)
        if new == self._stamp:
            return
        self._stamp = new
        try:
            self._tokens = read_tokens(self._path)
        except ConfigInvalid as error:
            log.error("the tokens in use stay: %s", error)


def read_tokens(path: str) -> list[bytes]:
    """Return the tokens of a file. Raises ConfigInvalid."""
    try:
        tokens = secret_lines(path)
        for n, token in tokens.items():
            if not _is_token(token):
                raise ValueError(f"line {n}: {_EXPECTED}")
        if not tokens:
            raise ValueError(_EXPECTED)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problem = f"token_file: {path}: {reason}"
        raise ConfigInvalid("endpoint.admin", [problem]) from None
    return [token.encode() for token in tokens.values()]
