"""Whose request a proxy passes on, from its headers."""

import pytest

from gomlx.runtime.networks import Networks
from gomlx.server.peers.forwarded import client_of

TRUSTED = Networks(["10.1.0.0/16", "2001:db8::/32"])


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1, 10.1.0.1", "192.0.2.1"),
        ("6.6.6.6, 192.0.2.1, 10.1.0.1", "192.0.2.1"),  # the first may be made up
        ("192.0.2.1, 10.10.0.1", "10.10.0.1"),  # is not in 10.1.0.0/16
        ("192.0.2.1, ::ffff:10.1.0.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("192.0.2.1:4711, [2001:db8::1]:80", "192.0.2.1"),
        ("10.1.0.2, 10.1.0.1", "10.1.0.2"),
        ("192.0.2.1, unknown, 10.1.0.1", "10.1.0.1"),
        ("10.1", ""),
        ("", ""),
        (",".join(["192.0.2.1"] + ["10.1.0.1"] * 100), "10.1.0.1"),
    ],
)
def test_x_forwarded_for(value: str, client: str) -> None:
    assert client_of([(b"x-forwarded-for", value.encode())], TRUSTED) == client


@pytest.mark.parametrize(
    ("value", "client"),
    [
        ("for=192.0.2.1", "192.0.2.1"),
        ('For="[2001:4860::1]:4711";proto=https, for=10.1.0.1', "2001:4860::1"),
        ("for=192.0.2.1;by=10.1.0.1, proto=https", ""),
        ("for=_hidden, for=10.1.0.1", "10.1.0.1"),
        ("for=192.0.2.1;for=192.0.2.2", ""),
    ],
)
def test_forwarded(value: str, client: str) -> None:
    headers = [(b"x-forwarded-for", b"6.6.6.6"), (b"forwarded", value.encode())]
    assert client_of(headers, TRUSTED) == client


def test_a_list_in_several_lines() -> None:
    lines = [(b"x-forwarded-for", b"192.0.2.1"), (b"x-forwarded-for", b"10.1.0.1")]
    assert client_of(lines, TRUSTED) == "192.0.2.1"
