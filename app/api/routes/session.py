"""The session of the page: it begins with a key and ends with it."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from certrad.app.api.access import CHALLENGE
from certrad.app.api.audit import note, note_refusal
from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.exposure import is_closed
from certrad.app.api.problems import problem_response, problem_responses
from certrad.app.api.rates import network_of
from certrad.app.api.schemas.job import moment
from certrad.app.api.secret import bearer
from certrad.app.api.sessions import COOKIE, set_cookie
from certrad.workers.contract.access import Caller, Scope

PATH = "/session"

router = APIRouter(prefix=PATH, tags=["access"])


class SessionForm(BaseModel):
    """The key that a session begins with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    key: SecretStr = Field(max_length=256, description="an API key, as `certrad access add` shows it")


class SessionView(BaseModel):
    """Who calls, and what the caller may do. It holds no secret."""

    access: Literal["open", "closed"] = Field(description="`open`: this service asks for no key")
    tenant: str = Field(examples=["radiology"])
    scopes: list[Scope]
    key_id: str | None = Field(description="public id of the key; null where the service is open")


class StartedSession(SessionView):
    """A session that has begun."""

    ends_at: datetime


@router.post(
    "",
    operation_id="start_session",
    summary="Log in with a key",
    status_code=201,
    response_model=StartedSession,
    responses={
        201: {
            "description": "The session's cookie, which scripts cannot read, is set.",
            "headers": {"Set-Cookie": {"schema": {"type": "string"}, "description": "the session"}},
        },
        **problem_responses(
            "unauthenticated",
            "rate_limited",
            "invalid_request",
            "unknown_field",
            "body_too_large",
            "foreign_origin",
            "access_unavailable",
        ),
    },
)
async def start_session(
    request: Request, response: Response, services: ServicesDep, form: SessionForm | None = None
) -> StartedSession | Response:
    """Begins a session with the key of the body, or of `Authorization: Bearer KEY`.

    The cookie of the session stands for the key until the session or the key ends. A key has at most 20 sessions: one
    more ends the oldest. Programs send the key itself.
    """
    given = bearer(request.headers) if form is None else form.key.get_secret_value()
    key = None if given is None else services.access_keys.of(given)
    if key is None:
        wait = await services.rates.count("refusal", network_of(request.scope))
        if wait is not None:
            return _rate_limited(wait)
        note_refusal(request, "unauthenticated")
        return problem_response("unauthenticated", headers=CHALLENGE)
    if is_closed(services.settings, request.scope):
        wait = await services.rates.count("request", key.tenant)
        if wait is not None:
            return _rate_limited(wait)
    seconds = services.settings.session_seconds
    set_cookie(request, response, await services.sessions.start(key), seconds)
    note(request, tenant=key.tenant, key=key.id)
    view = _view(key.caller, is_open=False)
    return StartedSession(**view.model_dump(), ends_at=moment(services.clock() + seconds))


@router.get(
    "",
    operation_id="get_session",
    summary="Who am I",
    responses=problem_responses(),
)
async def get_session(request: Request, services: ServicesDep, caller: CallerDep) -> SessionView:
    """Returns the tenant and the scopes of the key or the session that the request came with."""
    return _view(caller, is_open=not is_closed(services.settings, request.scope))


@router.delete(
    "",
    operation_id="end_session",
    summary="Log out",
    status_code=204,
    responses=problem_responses("foreign_origin"),
)
async def end_session(request: Request, services: ServicesDep) -> Response:
    """Ends the session of the cookie; the key stays as it is."""
    if (cookie := request.cookies.get(COOKIE)) is not None:
        await services.sessions.end(cookie)
    response = Response(status_code=204)
    set_cookie(request, response, "", 0)
    return response


def _rate_limited(wait: int) -> Response:
    return problem_response("rate_limited", headers={"Retry-After": str(wait)})


def _view(caller: Caller, *, is_open: bool) -> SessionView:
    return SessionView(
        access="open" if is_open else "closed",
        tenant=caller.tenant,
        scopes=sorted(caller.scopes),
        key_id=caller.key_id,
    )
