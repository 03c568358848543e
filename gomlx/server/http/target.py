"""What a request is for: its target and its Host (RFC 9112, section 3.2).

Pure functions of bytes: the hot protocol's heads and the ASGI scopes use the same ones.
"""

import re
from urllib.parse import unquote_to_bytes

from gomlx.errors import InvalidInput

_AUTHORITY = (
    rb"(?:\[[0-9A-Za-z:._~!$&'()*+,;=-]+\]"
    rb"|(?:[0-9A-Za-z._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*)"
    rb"(?::[0-9]*)?"
)
_is_host = re.compile(_AUTHORITY).fullmatch
_as_absolute = re.compile(
    rb"(?i:https?)://(?P<authority>%b)(?P<path>/.*)?" % _AUTHORITY, re.DOTALL
).fullmatch
_find_wrong_escape = re.compile(rb"%(?![0-9A-Fa-f]{2})").search
_SLASH = re.compile(rb"%2[Ff]")


def is_host(value: bytes) -> bool:
    """Return whether this is the value of a Host header. An empty one is."""
    return _is_host(value) is not None


def origin_form(path: bytes) -> bytes:
    """Return the path of a target without its query, which may begin with a host.

    An absolute target without a path has an empty one. Raises InvalidInput.
    """
    if path.startswith(b"/") or path == b"*":
        return path
    match = _as_absolute(path)
    if match is None or match["authority"][:1] in (b"", b":"):
        raise InvalidInput("the target is neither a path nor an http or https URL")
    return match["path"] or b""


def decoded_path(path: bytes) -> str:
    """Decode a path's percent-escapes, except that of a slash, which separates nothing.

    Raises InvalidInput.
    """
    if wrong := _find_wrong_escape(path):
        found = path[wrong.start() : wrong.start() + 3].decode("latin-1")
        raise InvalidInput(f"the path has {found!r}, which is no percent-escape")
    try:
        return "%2F".join(unquote_to_bytes(p).decode() for p in _SLASH.split(path))
    except UnicodeDecodeError:
        raise InvalidInput("the path is not UTF-8") from None
