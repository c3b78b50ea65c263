"""The addresses that only this machine reaches: all that a service without access control may listen on."""

import ipaddress
import socket
from urllib.parse import urlsplit


class AddressError(ValueError):
    """A `--host` that is no address, or one that other machines reach."""


def require_loopback(host: str) -> None:
    """Checks that every address of a host is reached from this machine only.

    There is no access control yet, so nobody else may reach the API.

    Args:
        host: The value of `--host`.

    Raises:
        AddressError: One of its addresses is no loopback address, or it has none.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        raise AddressError(f"--host {host!r} is no address: {error.strerror}") from None
    addresses = {str(address[4][0]) for address in found}
    if not all(ipaddress.ip_address(address).is_loopback for address in addresses):
        raise AddressError(f"--host must be a loopback address until there is access control, got {host!r}")


def is_loopback_url(url: str) -> bool:
    """Returns whether an address is one of this machine, which no proxy of HTTP_PROXY can reach.

    Args:
        url: The address of a service.
    """
    try:
        host = urlsplit(url).hostname or ""
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
