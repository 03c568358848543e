"""The codings of a request's body: gzip and deflate, unpacked within a limit."""

import zlib

from gomlx.errors import GomlxError, InvalidInput, TooLarge

# What the service accepts (RFC 9110, 12.5.3).
ACCEPTED = "gzip, deflate, identity"
_CODINGS = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}
_GZIP_BITS = 16 + zlib.MAX_WBITS
# A gzip body may have many members, and what is behind one is copied for the next.
_BLOCK_BYTES = 16 << 10


class UnsupportedCoding(GomlxError):
    """A Content-Encoding that the route does not take; accepted: those that it does."""

    status = 415

    def __init__(self, value: str, accepted: str = ACCEPTED) -> None:
        super().__init__(
            f"a body with Content-Encoding {value[:60]!r} is not accepted here; send "
            f"one of: {accepted}"
        )
        self.accepted = accepted


class UnsupportedTransfer(GomlxError):
    """A Transfer-Encoding other than chunked (RFC 9112, 6.1)."""

    status = 501

    def __init__(self, value: str) -> None:
        super().__init__(
            f"a body with Transfer-Encoding {value[:60]!r} is not accepted: send it "
            "chunked, and name how it is packed by Content-Encoding"
        )


def check_transfer(value: str | None) -> None:
    """Raise UnsupportedTransfer unless a Transfer-Encoding is chunked, or not there."""
    if value is not None and value.strip().lower() != "chunked":
        raise UnsupportedTransfer(value)


def coding_of(value: str | None, accepted: str = ACCEPTED) -> str:
    """Return the coding that a Content-Encoding names: gzip, deflate, or "" for none.

    Raises UnsupportedCoding, for two codings in a row as well.
    """
    if value is None:
        return ""
    names = [name.strip().lower() for name in value.split(",")]
    real = [name for name in names if name not in ("", "identity")]
    if not real:
        return ""
    if len(real) > 1 or real[0] not in _CODINGS or _CODINGS[real[0]] not in accepted:
        raise UnsupportedCoding(value, accepted)
    return _CODINGS[real[0]]


def unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """Unpack a whole body, and no more than limit bytes of it.

    Raises TooLarge, and InvalidInput for data that are corrupt or end too soon.
    """
    try:
        return _unpacked(body, coding, limit)
    except zlib.error as error:
        reason = str(error).rpartition("decompressing data: ")[2]
        raise InvalidInput(f"the body is not valid {coding}: {reason}") from None


def _unpacked(body: bytes, coding: str, limit: int) -> bytes:
    """Raises zlib.error, TooLarge."""
    bits = _window_bits(body, coding)
    unpacker = zlib.decompressobj(bits)
    found = bytearray()
    end = 0
    while end < len(body):
        if unpacker.eof:
            if coding != "gzip":
                raise zlib.error("there are bytes behind its end")
            unpacker = zlib.decompressobj(bits)  # another member
        start = end
        end = min(start + _BLOCK_BYTES, len(body))
        found += unpacker.decompress(body[start:end], limit + 1 - len(found))
        if len(found) > limit:
            raise TooLarge(f"the unpacked body is larger than {limit} bytes")
        end -= len(unpacker.unused_data)
    if not unpacker.eof:
        raise zlib.error("it ends too soon")
    return bytes(found)


def _window_bits(body: bytes, coding: str) -> int:
    """Return zlib's parameter. Some clients send deflate without zlib's header."""
    if coding == "gzip":
        return _GZIP_BITS
    has_header = body[:1] and body[0] & 15 == 8 and not int.from_bytes(body[:2]) % 31
    return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS
