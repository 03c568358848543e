"""The header of the PROXY protocol, in which a proxy tells whose connection it is.

Version 1 is a line of text, version 2 is binary; both come before all else, also before
TLS (https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt).
"""

import ipaddress
import struct
from typing import NamedTuple

_LINE = b"PROXY "
_LINE_BYTES = 107  # the longest, with its end
_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_FIXED = struct.Struct("!12sBBH")  # signature, version and command, family, length
_VERSION = 2
_LOCAL = 0
_PROXY = 1
_MOST_BYTES = 4096  # of version 2, with all that it may say besides addresses
_STREAM = 1
_ADDRESSES = {1: struct.Struct("!4s4sHH"), 2: struct.Struct("!16s16sHH")}


class ProxyHeader(NamedTuple):
    """What was found at the beginning of a connection.

    client: its address and port; None: the proxy speaks for itself, or there is no
    header. size: of the header, in bytes; 0: there is none.
    """

    client: tuple[str, int] | None
    size: int


NO_HEADER = ProxyHeader(None, 0)


def proxy_header(data: bytes) -> ProxyHeader | None:
    """Return the header with which bytes begin; None: more of them are needed.

    Raises ValueError for one that is malformed.
    """
    if data[: len(_SIGNATURE)] == _SIGNATURE[: len(data)]:
        return _binary(data)
    if data[: len(_LINE)] == _LINE[: len(data)]:
        return _text(data)
    return NO_HEADER


def _text(data: bytes) -> ProxyHeader | None:
    end = data.find(b"\r\n", 0, _LINE_BYTES)
    if end < 0:
        if len(data) >= _LINE_BYTES:
            raise ValueError("a PROXY line without an end")
        return None
    words = data[:end].decode("ascii").split(" ")
    size = end + 2
    if words[1] == "UNKNOWN":
        return ProxyHeader(None, size)
    if len(words) != 6 or words[1] not in ("TCP4", "TCP6"):
        raise ValueError("a PROXY line that names no connection")
    address = ipaddress.ip_address(words[2])
    if address.version != int(words[1][-1]):
        raise ValueError("a PROXY line with an address of another family")
    return ProxyHeader((str(address), _port(words[4])), size)


def _port(text: str) -> int:
    if not text.isdecimal() or len(text) > 5 or int(text) > 65_535:
        raise ValueError("a PROXY line with a port that is none")
    return int(text)


def _binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _FIXED.size:
        return None
    _, version, family, length = _FIXED.unpack_from(data)
    size = _FIXED.size + length
    command = version & 15
    if version >> 4 != _VERSION or command > _PROXY or size > _MOST_BYTES:
        raise ValueError("a PROXY header of another version, or too long")
    if len(data) < size:
        return None
    layout = _ADDRESSES.get(family >> 4)
    if command == _LOCAL or layout is None or family & 15 != _STREAM:
        return ProxyHeader(None, size)
    if length < layout.size:
        raise ValueError("a PROXY header without addresses")
    source, _, port, _ = layout.unpack_from(data, _FIXED.size)
    return ProxyHeader((str(ipaddress.ip_address(source)), port), size)
