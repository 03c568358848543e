"""The header of the PROXY protocol, from bytes."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gomlx.server.peers.proxy_header import NO_HEADER, ProxyHeader, proxy_header

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = b"\x0a\x01\x02\x03\xc0\xa8\x00\x01" + struct.pack("!HH", 40_000, 443)
V6 = bytes(15) + b"\x01" + bytes(16) + struct.pack("!HH", 40_000, 443)


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


LINE = b"PROXY TCP4 10.1.2.3 192.168.0.1 40000 443\r\n"
VALID = [
    (LINE, ("10.1.2.3", 40_000)),
    (b"PROXY TCP6 2001:db8::1 ::1 40000 443\r\n", ("2001:db8::1", 40_000)),
    (b"PROXY UNKNOWN\r\n", None),
    (b"PROXY UNKNOWN ::1 ::1 1 2\r\n", None),
    (binary(0x21, 0x11, V4), ("10.1.2.3", 40_000)),
    (binary(0x21, 0x21, V6), ("::1", 40_000)),
    (binary(0x21, 0x11, V4 + b"\x04\x00\x01x"), ("10.1.2.3", 40_000)),
    (binary(0x20, 0x00, b""), None),
    (binary(0x21, 0x31, bytes(216)), None),
]


@pytest.mark.parametrize(("header", "client"), VALID)
def test_a_header_that_arrives_in_pieces(
    header: bytes, client: tuple[str, int] | None
) -> None:
    for end in range(1, len(header)):
        assert proxy_header(header[:end]) is None
    for rest in (b"", b"POST / HTTP/1.1\r\n"):
        assert proxy_header(header + rest) == ProxyHeader(client, len(header))


@pytest.mark.parametrize(
    "start", [b"POST / HTTP/1.1\r\n", b"PRI * HTTP/2.0", b"\x16\x03\x01", b"\r\nGET"]
)
def test_a_connection_without_a_header(start: bytes) -> None:
    assert proxy_header(start) == NO_HEADER


@pytest.mark.parametrize(
    "header",
    [
        b"PROXY TCP4 10.1.2.3\r\n",
        b"PROXY TCP5 10.1.2.3 10.1.2.3 1 2\r\n",
        b"PROXY TCP4 10.1.2 10.1.2.3 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP4 10.1.2.3 10.1.2.3 70000 2\r\n",
        b"PROXY TCP4 10.1.2.3 10.1.2.3 +1 2\r\n",
        b"PROXY \xff\r\n",
        b"PROXY TCP4 " + b"1" * 100,
        binary(0x11, 0x11, V4),
        binary(0x22, 0x11, V4),
        binary(0x21, 0x11, V4[:-1]),
        binary(0x21, 0x11, bytes(5000)),
    ],
)
def test_a_malformed_header(header: bytes) -> None:
    with pytest.raises(ValueError):
        proxy_header(header)


@given(st.binary(max_size=200), st.sampled_from([b"", b"PROXY TCP4 ", SIGNATURE]))
def test_any_bytes_are_a_header_or_none_or_refused(data: bytes, start: bytes) -> None:
    try:
        found = proxy_header(start + data)
    except ValueError:
        return
    assert found is None or found.size <= len(start + data)
