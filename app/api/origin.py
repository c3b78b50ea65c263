"""ASGI middleware: a page of another origin cannot change anything through somebody's browser."""

from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from certrad.app.api.problems import problem_response

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})
_FOREIGN_SITES: Final = frozenset({"cross-site", "same-site"})
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


class ForeignOriginMiddleware:
    """Refuses a request that may change something and that a page of another origin makes.

    A browser sends forms and plain text to any address without asking the service first, and says in `Origin` and
    `Sec-Fetch-Site` which page made it do so. Whatever is no browser, as curl and a PACS, sends neither and is not
    concerned.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "http" and scope["method"] not in SAFE_METHODS and _is_foreign(Headers(scope=scope)):
            await problem_response("foreign_origin")(scope, receive, send)
            return
        await self._app(scope, receive, send)


def tells_its_origin(headers: Headers) -> bool:
    """Returns whether a request says which page made it, as every browser does of one that may change something.

    Args:
        headers: The headers of the request.
    """
    return "origin" in headers or "sec-fetch-site" in headers


def _is_foreign(headers: Headers) -> bool:
    if not _FOREIGN_SITES.isdisjoint(site.strip().lower() for site in headers.getlist("sec-fetch-site")):
        return True
    host = headers.get("host", "")
    return not all(_is_at(origin, host) for origin in headers.getlist("origin"))


def _is_at(origin: str, host: str) -> bool:
    """Returns whether an origin is served at a host; `null`, which a sandboxed page sends, is served at none.

    The scheme is not compared: behind a proxy that ends TLS the service does not know its own.
    """
    scheme, _, rest = origin.strip().lower().partition("://")
    port = _DEFAULT_PORTS.get(scheme)
    return port is not None and bool(rest) and rest.removesuffix(port) == host.strip().lower().removesuffix(port)
