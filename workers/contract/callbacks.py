"""The addresses that callbacks may go to: one strict form of address, and the operator's list of hosts."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Self

MOST_CHARACTERS: Final = 1_024
_PORTS: Final = {"https": 443, "http": 80}
_LABEL: Final = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_HOST: Final = rf"(?:(?P<name>{_LABEL}(?:\.{_LABEL})*)|\[(?P<literal>[0-9a-f:.]+)\])(?::(?P<port>[0-9]{{1,5}}))?"
_ORIGIN: Final = re.compile(rf"(?:(?P<scheme>https?)://)?{_HOST}")
_REST: Final = r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)(?P<query>\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?"
_URL: Final = re.compile(rf"(?P<origin>https?://[^/?#]+){_REST}")
_A_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Scheme, host and port of an address.

    Attributes:
        scheme: `https` or `http`.
        host: A name in lower case, or an IP address in its shortest form, without brackets.
        port: The port.
    """

    scheme: str
    host: str
    port: int

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the origin that a text names; `https` where it names no scheme.

        Args:
            text: `HOST`, `HOST:PORT`, or one of them after `https://` or `http://`.

        Raises:
            ValueError: It is none, or says it in a form that programs read differently.
        """
        match = _ORIGIN.fullmatch(text.lower()) if text.isascii() else None
        if match is None:
            raise ValueError(
                "must name a host as `name`, `name:port` or `[address]:port`, a name of another script in A-labels"
            )
        scheme = match["scheme"] or "https"
        port = int(match["port"] or _PORTS[scheme])
        if not 1 <= port <= 65_535:
            raise ValueError("must name a port from 1 to 65535")
        return cls(scheme=scheme, host=_host(match["name"], match["literal"]), port=port)

    @property
    def netloc(self) -> str:
        """Returns host and port as the header Host names them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def _host(name: str | None, literal: str | None) -> str:
    """Returns a host; a name that ends with a number is an IPv4 address in its usual form or refused.

    Raises:
        ValueError: It is an address in another form, such as `127.1` or `0x7f000001`.
    """
    try:
        if literal is not None:
            return IPv6Address(literal).compressed
        if name is not None and _A_NUMBER.fullmatch(name.rpartition(".")[2]):
            return IPv4Address(name).compressed
    except ValueError:
        raise ValueError("must spell an IP address as usual: `192.0.2.7` or `[2001:db8::7]`") from None
    if name is None or len(name) > 253:
        raise ValueError("must name a host of at most 253 characters")
    return name


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackAddress:
    """The address of a receiver, to which a callback goes when a job has ended.

    Attributes:
        origin: Its scheme, host and port.
        target: Path and query.
    """

    origin: Origin
    target: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the address that a text spells.

        Args:
            text: An absolute address without a user, a password or a fragment.

        Raises:
            ValueError: It is none.
        """
        match = _URL.fullmatch(text) if text.isascii() and len(text) <= MOST_CHARACTERS else None
        if match is None:
            raise ValueError(
                f"must be an https address of at most {MOST_CHARACTERS} ASCII characters without a user, a password or "
                "a fragment"
            )
        return cls(origin=Origin.read(match["origin"]), target=(match["path"] or "/") + (match["query"] or ""))

    def __str__(self) -> str:
        """Returns the address in its one form."""
        return f"{self.origin.scheme}://{self.origin.netloc}{self.target}"


@dataclass(frozen=True, slots=True)
class CallbackHosts:
    """The operator's list: each entry stands for one scheme, host and port."""

    origins: frozenset[Origin]

    @classmethod
    def read(cls, text: str) -> Self:
        """Returns the list that a setting spells.

        Args:
            text: Entries that `Origin.read` reads, separated by commas; empty: no callback goes anywhere.

        Raises:
            ValueError: An entry names no origin.
        """
        return cls(frozenset(Origin.read(entry) for each in text.split(",") if (entry := each.strip())))

    def __bool__(self) -> bool:
        """Returns whether any callback is allowed."""
        return bool(self.origins)

    def allows(self, address: CallbackAddress) -> bool:
        """Returns whether a callback may go to an address."""
        return address.origin in self.origins

    def names(self, address: IPv4Address | IPv6Address) -> bool:
        """Returns whether an entry is this very IP address."""
        return any(_is_address(origin.host, address) for origin in self.origins)


def _is_address(host: str, address: IPv4Address | IPv6Address) -> bool:
    try:
        return ip_address(host) == address
    except ValueError:
        return False
