"""The addresses that only this machine reaches: a service on any other one asks for an API key."""

import ipaddress
import socket
from urllib.parse import urlsplit


class AddressError(ValueError):
    """A `--host` that is no address."""


def is_loopback(host: str) -> bool:
    """Returns whether every address of a host is reached from this machine only.

    Args:
        host: The value of `--host`.

    Raises:
        AddressError: It has no address.
    """
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM) if host else []
    except socket.gaierror as error:
        raise AddressError(f"--host {host!r} is no address: {error.strerror}") from None
    if not found:
        raise AddressError("--host must be an address, got ''")
    return all(ipaddress.ip_address(str(address[4][0])).is_loopback for address in found)


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
