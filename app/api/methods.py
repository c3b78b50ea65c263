"""What a method means on every path: HEAD is answered like GET, and a refusal lists every method of the path."""

from typing import Final

from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS: Final = ("DELETE", "GET", "PATCH", "POST", "PUT")


class HeadMiddleware:
    """Answers HEAD with the status and the headers of GET, and with no body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        answered, as_get = False, {**scope, "method": "GET"}

        async def send_without_body(message: Message) -> None:
            nonlocal answered
            if message["type"] == "http.response.start":
                await send(message)
            elif message["type"] == "http.response.body" and not answered:
                answered = True
                await send({"type": "http.response.body", "body": b""})
                if message.get("more_body", False):
                    raise _AnsweredError  # a stream of events would go on until its job ends

        try:
            await self._app(as_get, receive, send_without_body)
        except _AnsweredError:
            return
        finally:
            scope.update({name: as_get[name] for name in ("route", "path_params") if name in as_get})  # for the log


def allowed_methods(request: Request) -> str:
    """Returns the value of `Allow` for the path of a request.

    Args:
        request: The request, of whatever method.

    Returns:
        Every method that some route takes at this path, separated by commas.
    """
    routes = request.app.routes
    found = {
        method
        for method in _METHODS
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in routes)
    }
    return ", ".join(sorted(found | ({"HEAD"} if "GET" in found else set())))


class _AnsweredError(Exception):
    """HEAD is answered; what comes after the headers is not needed."""
