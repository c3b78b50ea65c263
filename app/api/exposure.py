"""The exposure of a service: it is open to everyone on this machine, or it asks for a key."""

from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import Scope

from certrad.app.settings import ApiSettings

_OF_PROXIES: Final = ("forwarded", "via", "x-real-ip")
_OF_PROXIES_PREFIX: Final = "x-forwarded-"


def is_closed(settings: ApiSettings, scope: Scope) -> bool:
    """Returns whether a request needs a key: by the settings, or because it reaches an address that others reach.

    Args:
        settings: The settings.
        scope: The ASGI connection; its `server` is the address that the client has connected to.
    """
    if settings.is_closed:
        return True
    if (server := scope.get("server")) is None:
        return True
    try:
        return not ip_address(server[0]).is_loopback
    except ValueError:
        # A Unix socket has no port, and everyone who may open its file reaches it. A name with a port is the address of
        # a test, which has no socket.
        return server[1] is None


def is_forwarded(headers: Headers) -> bool:
    """Returns whether a proxy passed a request on, from wherever it came.

    Args:
        headers: The headers of the request.
    """
    return any(name in _OF_PROXIES or name.startswith(_OF_PROXIES_PREFIX) for name in headers)
