"""Which addresses are in the networks of a config."""

import pytest

from gomlx.runtime.networks import Networks, is_loopback


@pytest.mark.parametrize(
    ("network", "inside", "outside"),
    [
        ("10.1.0.0/16", "10.1.255.1", "10.10.0.1"),
        ("10.1.2.3", "10.1.2.3", "10.1.2.30"),
        ("10.0.0.0/8", "::ffff:10.9.8.7", "::10.9.8.7"),
        ("::ffff:10.0.0.0/104", "10.9.8.7", "11.9.8.7"),
        ("::ffff:10.1.2.3", "::ffff:10.1.2.3", "10.1.2.4"),
        ("2001:db8::/32", "2001:db8::1", "2001:db9::1"),
        ("fe80::/10", "fe80::1%eth0", "fd00::1"),
        ("0.0.0.0/0", "192.0.2.1", "2001:db8::1"),
        ("::1", "::1", "127.0.0.1"),
    ],
)
def test_networks(network: str, inside: str, outside: str) -> None:
    networks = Networks(["192.168.77.0/24", network])
    assert inside in networks
    assert outside not in networks


@pytest.mark.parametrize("text", ["", "gomlx.sock", "10.1", "10.1.2.3:80", "0x7f.1"])
def test_what_is_no_address_is_in_no_network(text: str) -> None:
    assert text not in Networks(["0.0.0.0/0", "::/0"])


@pytest.mark.parametrize("text", ["10.1", "10.1.2.3/8", "10.0.0.0/33", "host", ""])
def test_what_is_no_network(text: str) -> None:
    with pytest.raises(ValueError):
        Networks([text])


def test_loopback() -> None:
    assert all(map(is_loopback, ["127.0.0.1", "127.1.2.3", "::1", "localhost"]))
    assert is_loopback("::ffff:127.0.0.1")
    assert not any(map(is_loopback, ["0.0.0.0", "::", "10.0.0.1", "gomlx.example"]))
