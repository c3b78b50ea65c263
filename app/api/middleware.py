"""ASGI middleware: security headers, last-resort error handler, host allow-list, body size limit."""

import logging
import re
import traceback
from collections.abc import Mapping, MutableMapping
from ipaddress import ip_address
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from certrad.app.api.exposure import is_closed
from certrad.app.api.problems import problem_response
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected

_log = logging.getLogger("certrad.api")
SECURITY_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
_ONLY_BY_TLS: Final = "max-age=31536000"
MONITORING: Final = re.compile(r"/health/[a-z]+|/metrics")
_HOST: Final = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:]+))(?::[0-9]*)?")


class SecurityHeadersMiddleware:
    """Adds the security headers that a response does not set itself; only its route can make a response cacheable.

    A browser that came by TLS, which a trusted proxy ends, is told to come no other way for a year.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                if scope["scheme"] == "https":
                    headers.setdefault("Strict-Transport-Security", _ONLY_BY_TLS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ErrorMiddleware:
    """Responds to an unexpected error with `internal_error`, and logs its type and place but no value."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def send_watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, send_watched)
        except ClientDisconnect:
            return
        except Exception as error:
            # The message of an exception may quote what was sent, so only its type and place are logged.
            frames = [
                f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
            ]
            place = frames[-1] if frames else "nowhere"
            _log.error(
                f"defect: {type(error).__name__} at {place}",
                extra={"error": type(error).__name__, "trace": frames},
            )
            if not started:
                await problem_response("internal_error")(scope, receive, send)


class AllowedHostMiddleware:
    """Refuses requests whose Host is neither a loopback address nor an allowed name.

    Where access is open, only the loopback address protects the service. A web page whose name resolves to 127.0.0.1
    (DNS rebinding) would reach it through the browser of anyone on this machine. Starlette's `TrustedHostMiddleware`
    knows names only: it would need a list of all loopback addresses, and takes the first of several Host headers.

    Probes and metrics also answer at any IP address, because an orchestrator calls a container by its address, and so
    does everything where access is closed. A browser deceived by DNS rebinding sends the page's host name, so it is
    still refused.
    """

    def __init__(self, app: ASGIApp, *, settings: ApiSettings) -> None:
        self._app = app
        self._settings = settings
        self._names = settings.host_names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "http" and not self._allows(Headers(scope=scope).getlist("host"), scope):
            await problem_response("host_not_allowed")(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _allows(self, hosts: list[str], scope: Scope) -> bool:
        match = _HOST.fullmatch(hosts[0].lower()) if len(hosts) == 1 else None
        if match is None:
            return False
        name = match[1] or match[2]
        if name in self._names:
            return True
        at_any_address = MONITORING.fullmatch(scope["path"]) or is_closed(self._settings, scope)
        return _is_address(name, loopback=not at_any_address)


class BodySizeLimitMiddleware:
    """Refuses a body over the limit with 413, whether its length is declared or counted.

    The rest of the body is read and discarded, up to the limit once more: a client that sends first and reads later
    then sees the response instead of a reset connection. FastAPI's `max_body_size` does not do that (ADR 18).
    """

    def __init__(self, app: ASGIApp, *, max_bytes: int, larger: Mapping[str, int]) -> None:
        """Sets the limits.

        Args:
            app: The application behind it.
            max_bytes: The limit of every other path.
            larger: The limits of some paths; one that ends with `/` stands for all below it.
        """
        self._app = app
        self._max_bytes = max_bytes
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limit_of(scope["path"])
        headers = Headers(scope=scope)
        declared = headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limit:
            if "expect" not in headers:
                await _drain(receive, limit)
            await _refuse(scope, receive, send, limit)
            return
        received = 0
        over = False
        unread = False

        async def receive_counted() -> Message:
            nonlocal received, over, unread
            message = await receive()
            received += _size(message)
            if received > limit:
                over = True
                unread = message.get("more_body", False)
                raise Rejected("body_too_large", f"the body must have at most {limit} bytes")
            return message

        async def send_unless_over(message: Message) -> None:
            if not over:
                await send(message)

        await self._app(scope, receive_counted, send_unless_over)
        if unread:
            await _drain(receive, limit)
        if over:
            await _refuse(scope, receive, send, limit)

    def _limit_of(self, path: str) -> int:
        below = (limit for start, limit in self._larger.items() if start.endswith("/") and path.startswith(start))
        return self._larger.get(path) or next(below, self._max_bytes)


async def _drain(receive: Receive, remaining: int) -> None:
    while remaining > 0:
        message = await receive()
        remaining -= _size(message)
        if not message.get("more_body", False):
            return


async def _refuse(scope: Scope, receive: Receive, send: Send, limit: int) -> None:
    await problem_response("body_too_large", f"the body must have at most {limit} bytes")(scope, receive, send)


def _size(message: MutableMapping[str, Any]) -> int:
    return len(message.get("body", b""))


def _is_address(name: str, *, loopback: bool) -> bool:
    try:
        return ip_address(name).is_loopback or not loopback
    except ValueError:
        return False
