"""ASGI middleware: who calls, and whether the caller may."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from fastapi.routing import iter_route_contexts
from redis.exceptions import RedisError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from certrad.app.api.audit import note_refusal
from certrad.app.api.exposure import is_closed, is_forwarded
from certrad.app.api.origin import SAFE_METHODS, tells_its_origin
from certrad.app.api.problems import problem_response
from certrad.app.api.rates import Counted, network_of
from certrad.app.api.scopes import BY_SECRET, NEEDED, PUBLIC, SUBMISSIONS, name_of
from certrad.app.api.secret import bearer, brings_secret
from certrad.app.api.sessions import COOKIE
from certrad.workers.contract.access import LOCAL_CALLER, Caller
from certrad.workers.contract.access_keys import KeyFileError

if TYPE_CHECKING:
    from certrad.app.api.dependencies import Services

CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="certrad"'}
_OPEN_BEHIND_PROXY: Final = (
    "a proxy passed the request on, and this service is open: set `CERTRAD_ACCESS=closed`, and name the proxy in "
    "`CERTRAD_TRUSTED_PROXIES`"
)


@dataclass(frozen=True, slots=True)
class _Refused(Exception):  # it ends a request, and is no error of the service
    """A request is refused.

    Attributes:
        code: The error code.
        detail: What was wrong.
        wait: Seconds after which it may come again; None if that would not help.
    """

    code: str
    detail: str = ""
    wait: int | None = None


class AccessMiddleware:
    """Sets `request.state.caller`, and refuses what that caller may not do.

    A service that only this machine reaches is open: everyone is the local caller. Every other one asks for a key, for
    the cookie of a session, or for the secret of the PACS, before it looks at anything else.
    """

    def __init__(self, app: ASGIApp, *, services: "Services") -> None:
        """Sets what requests are checked against.

        Args:
            app: The application behind it.
            services: Settings, keys, sessions and rates.
        """
        self._app = app
        self._services = services
        self._routes: list[BaseRoute] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] == "http":
            try:
                caller = await self._caller(scope, self._operation(scope))
            except (RedisError, KeyFileError) as error:
                code = "redis_unavailable" if isinstance(error, RedisError) else "access_unavailable"
                await problem_response(code)(scope, receive, send)
                return
            except _Refused as refused:
                await _response(scope, refused)(scope, receive, send)
                return
            if caller is not None:
                scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)

    def _operation(self, scope: Scope) -> str | None:
        """Returns the operation that a request is; None if its path and method are none."""
        if self._routes is None:
            self._routes = [context.original_route for context in iter_route_contexts(scope["app"].routes)]
        for route in self._routes:
            if route.matches(scope)[0] is Match.FULL:
                scope["route"] = route  # for the audit trail, also of a request that goes no further
                return name_of(route)
        return None

    async def _caller(self, scope: Scope, operation: str | None) -> Caller | None:
        """Returns who calls; None for an operation that needs no key.

        Raises:
            _Refused: The request is refused.
            KeyFileError: The keys cannot be read.
            RedisError: Redis does not answer.
        """
        if operation in PUBLIC:
            return None
        request = Request(scope)
        if not is_closed(self._services.settings, scope):
            if is_forwarded(request.headers):
                await self._refuse_unauthenticated(scope, _OPEN_BEHIND_PROXY)
            return LOCAL_CALLER
        caller = await self._authenticated(request, operation)
        if caller is None:
            await self._refuse_unauthenticated(scope)
        counted: Counted = "submission" if operation in SUBMISSIONS else "request"
        wait = await self._services.rates.count(counted, caller.tenant)
        if wait is not None:
            raise _Refused("rate_limited", f"the tenant has sent too many {counted}s in this minute", wait=wait)
        if operation is not None and caller.scopes.isdisjoint(needed := NEEDED.get(operation, frozenset())):
            words = " or ".join(f"`{scope}`" for scope in sorted(needed)) or "one that no key has"
            raise _Refused("scope_missing", f"this call needs a key with the scope {words}")
        return caller

    async def _refuse_unauthenticated(self, scope: Scope, detail: str = "") -> NoReturn:
        """Counts a request without a valid key against its network, and refuses it.

        Raises:
            _Refused: unauthenticated; rate_limited once the network is over its limit, so that a flood does not fill
                the audit trail.
        """
        wait = await self._services.rates.count("refusal", network_of(scope))
        raise _Refused("unauthenticated", detail) if wait is None else _Refused("rate_limited", wait=wait)

    async def _authenticated(self, request: Request, operation: str | None) -> Caller | None:
        settings = self._services.settings
        if operation in BY_SECRET and brings_secret(request.headers, settings):
            return Caller(tenant=settings.trigger_tenant, scopes=frozenset({"submit", "read"}))
        token = bearer(request.headers)
        if token is not None:
            key = self._services.access_keys.of(token)
            return None if key is None else key.caller
        if (cookie := request.cookies.get(COOKIE)) is None:
            return None
        key = await self._services.sessions.key_of(cookie)
        if key is not None and request.method not in SAFE_METHODS and not tells_its_origin(request.headers):
            raise _Refused("foreign_origin", "a request with a session's cookie must say which page makes it")
        return None if key is None else key.caller


def _response(scope: Scope, refused: _Refused) -> Response:
    note_refusal(Request(scope), refused.code)
    headers = CHALLENGE if refused.code == "unauthenticated" else {}
    if refused.wait is not None:
        headers = {"Retry-After": str(refused.wait)}
    return problem_response(refused.code, refused.detail, headers=headers)
