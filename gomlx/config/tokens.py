"""Files of bearer tokens (RFC 6750): whether a request has one of them.

Digests are compared, each of them whether or not an earlier one was equal: how long
that takes tells neither how a token begins nor how long it is.
"""

import logging
import re
from hashlib import sha256
from hmac import compare_digest

from gomlx.errors import ConfigInvalid
from gomlx.runtime.secret_file import secret_lines, stamp

log = logging.getLogger(__name__)

_is_token = re.compile(r"[\x21-\x7e]{16,512}").fullmatch
_EXPECTED = "expected a token a line, of 16 characters or more: `openssl rand -hex 32`"


class TokenFile:
    """The tokens of a file. If it changes and is not valid then, those in use stay.

    None are known while it has never been valid: a start of the service refuses such a
    file, but a worker may be replaced while it is being written. option: where the
    config names it.
    """

    def __init__(self, option: str, path: str) -> None:
        self._option = option
        self._path = path
        self._seen = self._tried = stamp(path)
        self._digests: list[bytes] = []
        self._read()

    def has(self, token: str) -> bool:
        """Return whether a token is one of them; an empty one is none."""
        given = _digest(token)
        found = [compare_digest(given, one) for one in self._digests]
        return any(found)

    def look(self) -> bool:
        """Read the file if it has changed; return whether its tokens may have.

        It is read once two looks have found the same: in the middle of being written it
        has fewer tokens.
        """
        now = stamp(self._path)
        has_settled = now == self._seen
        self._seen = now
        if not has_settled or now == self._tried:
            return False
        self._tried = now
        if self._read():
            log.info("%s: the tokens of the file are read again", self._option)
            return True
        return False

    def _read(self) -> bool:
        """Read the file; return whether it is valid."""
        try:
            tokens = read_tokens(self._option, self._path)
        except ConfigInvalid as error:
            log.error("the tokens in use stay: %s", error)
            return False
        self._digests = [_digest(token) for token in tokens]
        return True


def read_tokens(option: str, path: str) -> list[str]:
    """Return the tokens of a file that an option names. Raises ConfigInvalid."""
    try:
        tokens = secret_lines(path)
        for n, token in tokens.items():
            if not _is_token(token):
                raise ValueError(f"line {n}: {_EXPECTED}")
        if not tokens:
            raise ValueError(_EXPECTED)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigInvalid(option, [f"token_file: {path}: {reason}"]) from None
    return list(tokens.values())


def bearer_token(authorization: str | None) -> str:
    """Return the token of an Authorization header; empty: it has none."""
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "replace")).digest()
