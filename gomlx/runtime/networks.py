"""Addresses of peers, and the networks of a config that they are in.

A socket of IPv6 that takes IPv4, too, has its peers as ::ffff:10.1.2.3: such an address
is that of IPv4, in a peer's name as well as in a config.
"""

import ipaddress
from collections.abc import Iterable

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED_BITS = 96  # ::ffff:0:0/96 is all of IPv4


class Networks:
    """Networks, each an address or in CIDR form. Raises ValueError for any other text.

    `text in networks`: whether a peer's address is in one of them. What is no address,
    such as the name of a unix socket, is in none.
    """

    def __init__(self, given: Iterable[str]) -> None:
        self._networks = [network_of(text) for text in given]

    def __contains__(self, peer: object) -> bool:
        address = address_of_text(peer) if isinstance(peer, str) else None
        return address is not None and any(address in one for one in self._networks)


def network_of(text: str) -> _Network:
    """Return the network that a text names.

    Raises ValueError, as for 10.1 and for 10.1.2.3/8, which has bits of a host.
    """
    network = ipaddress.ip_network(text)
    if network.version == 6 and network.prefixlen >= _MAPPED_BITS:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            bits = network.prefixlen - _MAPPED_BITS
            return ipaddress.IPv4Network((mapped, bits))
    return network


def address_of_text(text: str) -> _Address | None:
    """Return the address that a text is, without a zone; None: it is none."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if address.version == 6 else None
    return mapped or address


def is_loopback(host: str) -> bool:
    """Whether only this host reaches what listens on a host's name or address."""
    address = address_of_text(host)
    return host == "localhost" or (address is not None and address.is_loopback)
