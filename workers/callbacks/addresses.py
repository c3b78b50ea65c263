"""The IP addresses that a callback may connect to: asked for once, and never this machine or its surroundings."""

import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from certrad.workers.contract.callbacks import CallbackHosts, Origin

Resolve = Callable[[str, int], Sequence[str]]

_MOST_ADDRESSES: Final = 3
_NAT64: Final = tuple(IPv6Network(each) for each in ("64:ff9b::/96", "64:ff9b:1::/48"))
_COMPATIBLE: Final = IPv6Network("::/96")
_CLOUDS: Final = frozenset(
    ip_address(each) for each in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
"""The metadata services of clouds that lie outside the link-local networks."""
_CLOSED: Final = tuple(ip_network(each) for each in ("0.0.0.0/8", "240.0.0.0/4", "fec0::/10"))


class ConnectionRefusedByRuleError(Exception):
    """A name leads to addresses none of which a callback may connect to."""


def resolve(host: str, port: int) -> Sequence[str]:
    """Returns the IP addresses of a host, as the machine's resolver knows them.

    Args:
        host: A name or an IP address.
        port: The port.

    Raises:
        OSError: The resolver knows none, or does not answer.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def open_addresses(origin: Origin, hosts: CallbackHosts, resolver: Resolve = resolve) -> list[str]:
    """Returns the addresses to connect to, in the resolver's order; the resolver is asked once.

    Args:
        origin: What to connect to.
        hosts: The operator's list. An address that stands there itself is open, whatever it is.
        resolver: Returns the addresses of a host.

    Raises:
        OSError: There is none.
        ConnectionRefusedByRuleError: All are closed.
    """
    found = resolver(origin.host, origin.port)
    opened = [address for address in found if hosts.names(ip := ip_address(address)) or not is_closed(ip)]
    if not opened:
        raise ConnectionRefusedByRuleError
    return opened[:_MOST_ADDRESSES]


def is_closed(address: IPv4Address | IPv6Address) -> bool:
    """Returns whether no callback goes to an address: it is this machine, its network link, a cloud's or no host's.

    Private addresses are open: most receivers in a hospital have one, and the operator's list says which.

    Args:
        address: The address; an IPv4 address inside an IPv6 one counts as itself.
    """
    return any(map(_is_closed, _forms(address)))


def _forms(address: IPv4Address | IPv6Address) -> Iterable[IPv4Address | IPv6Address]:
    """Yields an address, and every IPv4 address that a gateway may take it for."""
    yield address
    if isinstance(address, IPv4Address):
        return
    yield from (each for each in (address.ipv4_mapped, address.sixtofour, *(address.teredo or ())) if each is not None)
    if any(address in network for network in (*_NAT64, _COMPATIBLE)):
        yield IPv4Address(int(address) & 0xFFFFFFFF)


def _is_closed(address: IPv4Address | IPv6Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _CLOUDS
        or any(address.version == network.version and address in network for network in _CLOSED)
    )
