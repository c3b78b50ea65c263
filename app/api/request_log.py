"""The id of each request, one log line about it, and the counters of requests; nothing that a client wrote freely."""

import re
import time
import uuid
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from certrad.app.api.middleware import MONITORING
from certrad.app.api.problems import code_of, note_code
from certrad.app.api.request_metrics import RequestMetrics
from certrad.app.settings import ApiSettings
from certrad.workers.contract import logs, tracing
from certrad.workers.contract.access import Caller

HEADER: Final = "X-Request-ID"
UNMATCHED: Final = "unmatched"
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_JOB_LOCATION: Final = re.compile(r"/jobs/([0-9a-f]{32})")
_STATE: Final = "request_id"
_REFUSED: Final = "refused_by_server"
_log = structlog.get_logger("certrad.access")


@dataclass(slots=True)
class _Answer:
    """The known facts of the answer to a request."""

    began: float = field(default_factory=time.perf_counter)
    responded: float | None = None
    status: int = 0
    size: int = 0
    location: str = ""


class RequestLogMiddleware:
    """Gives each request an id, logs it when its answer is complete, and counts it.

    A line has the template of the route, never the path or the query: both may name a patient. A probe that succeeds
    leaves a line only where the operator wants it, since an orchestrator sends one every few seconds.
    """

    def __init__(
        self, app: ASGIApp, *, settings: ApiSettings, metrics: RequestMetrics, uploads: Collection[str]
    ) -> None:
        """Sets where requests are counted.

        Args:
            app: The application behind it.
            settings: Which lines the operator wants.
            metrics: The counters.
            uploads: Paths that images are sent to; one that ends with `/` stands for all below it.
        """
        self._app = app
        self._uploads = uploads
        self._settings = settings
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})[_STATE] = request_id
        tracing.name_request(request_id)
        answer = _Answer()

        async def send_counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer.responded, answer.status = time.perf_counter(), message["status"]
                headers = MutableHeaders(scope=message)
                headers[HEADER] = request_id
                answer.location = headers.get("location", "")
            elif message["type"] == "http.response.body":
                answer.size += len(message.get("body", b""))
            await send(message)

        with logs.bound(request_id=request_id):
            try:
                await self._app(scope, receive, send_counted)
            finally:
                self._report(scope, answer)

    def _report(self, scope: Scope, answer: _Answer) -> None:
        method, route = _method(scope), route_template(scope)
        now = time.perf_counter()
        answer.status = answer.status or scope["state"].get(_REFUSED, 0)
        until_answer = (answer.responded or now) - answer.began
        self._metrics.observe(method=method, route=route, status=answer.status, seconds=until_answer)
        if (code := code_of(scope)) is not None and self._is_upload(scope):
            self._metrics.refuse_upload(code)
        is_quiet_probe = answer.status < 400 and MONITORING.fullmatch(route) is not None
        if not self._settings.access_log or (is_quiet_probe and not self._settings.access_log_probes):
            return
        _log.info(
            "request",
            method=method,
            route=route,
            status=answer.status,
            milliseconds=round(1000 * (now - answer.began), 1),
            bytes=answer.size,
            **self._who(scope),
            **_job(scope, answer),
        )

    def _is_upload(self, scope: Scope) -> bool:
        """Returns whether a request sends images: by its path, for one that is too large is refused without a route."""
        path: str = scope["path"]
        below = any(path.startswith(start) for start in self._uploads if start.endswith("/"))
        return scope["method"] == "POST" and (below or path in self._uploads)

    def _who(self, scope: Scope) -> dict[str, Any]:
        caller: Caller | None = scope["state"].get("caller")  # none of a call that needs no key, or that was refused
        facts: dict[str, Any] = {"tenant": caller and caller.tenant, "key_id": caller and caller.key_id}
        if self._settings.access_log_client and scope.get("client"):
            facts["client"] = scope["client"][0]
        return facts


def log_refused(settings: ApiSettings, status: int, client: tuple[str, int] | None, scope: Scope | None = None) -> None:
    """Logs a request that the server refuses before the application sees it.

    Args:
        settings: Whether the operator wants lines, and addresses in them.
        status: The status of the answer.
        client: The address and port that the connection came from.
        scope: The request; None if it could not be read.
    """
    if settings.access_log:
        facts = {"client": client[0]} if settings.access_log_client and client else {}
        method = "other" if scope is None else _method(scope)
        _log.info("request", method=method, route=UNMATCHED, status=status, tenant=None, key_id=None, **facts)


def note_refused(scope: Scope, status: int, code: str) -> None:
    """Notes the status and the error code with which the server ends a request that the application has begun."""
    scope["state"][_REFUSED] = status
    note_code(scope, code)


def request_id_of(scope: Scope) -> str | None:
    """Returns the id of a request; None where no middleware gave it one."""
    known: str | None = scope.get("state", {}).get(_STATE)
    return known


def route_template(scope: Scope) -> str:
    """Returns the template of the route that a request took, such as `/jobs/{job_id}`."""
    template: str | None = getattr(scope.get("route"), "path", None)
    return UNMATCHED if template is None else template


def _request_id(scope: Scope) -> str:
    """Returns the id that the client chose, if it is a plain one, else a new one."""
    given = Headers(scope=scope).getlist(HEADER)
    return given[0] if len(given) == 1 and _REQUEST_ID.fullmatch(given[0]) else uuid.uuid4().hex


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "other"


def _job(scope: Scope, answer: _Answer) -> dict[str, str]:
    """Returns the id of the job that a request made or named; a name that is of no job may be anything."""
    if answer.status >= 400:
        return {}
    created = _JOB_LOCATION.search(answer.location)
    job_id = created[1] if created else scope.get("path_params", {}).get("job_id")
    return {} if job_id is None else {"job_id": job_id}
