"""RFC 9457 problem bodies: every error of the API is one, with a code of `certrad.models.errors.PROBLEMS`."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, JsonValue
from redis import exceptions as redis_errors
from starlette.exceptions import HTTPException
from starlette.types import Receive, Scope, Send

from certrad.app.api.audit import note_refusal
from certrad.app.api.methods import allowed_methods
from certrad.app.api.remedies import REMEDIES
from certrad.models.errors import PROBLEMS, Rejected
from certrad.workers.contract.access_keys import KeyFileError
from certrad.workers.contract.waiting import refuses_writes

MEDIA_TYPE: Final = "application/problem+json"
RETRY_AFTER_SECONDS: Final = 5
_CODE_OF_STATUS: Final = {400: "invalid_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
_COMMON: Final = ("host_not_allowed", "redis_unavailable", "internal_error")
_CODE: Final = "problem_code"
_PASSING: Final = frozenset({429, 503})
_REDIS_DOWN: Final = (
    redis_errors.ConnectionError,
    redis_errors.TimeoutError,
    redis_errors.ClusterDownError,
)


class FieldError(BaseModel):
    """One field that the service refused, and the reason."""

    field: str
    detail: str


class ProblemBody(BaseModel):
    """An error in the form of RFC 9457; `code` is stable, the words are not."""

    type: str = Field(examples=["urn:certrad:problem:job_not_found"])
    title: str = Field(examples=[PROBLEMS["job_not_found"].title])
    status: int = Field(examples=[404])
    code: str = Field(examples=["job_not_found"], json_schema_extra={"enum": list[JsonValue](sorted(PROBLEMS))})
    detail: str = Field(examples=[REMEDIES["job_not_found"].what_to_do])
    instance: str | None = Field(None, examples=["/jobs/0f8fad5bd9cb469fa16570867728950e"])
    errors: list[FieldError] | None = Field(None, description="the fields that were refused")


class InvalidRequest(Rejected):
    """Fields that the service refuses, each with the reason."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("invalid_request", "; ".join(f"`{field}`: {reason}" for field, reason in errors.items()))
        self.errors = [{"field": field, "detail": reason} for field, reason in errors.items()]


class TryLater(Rejected):
    """A refusal that says when the same request may succeed."""

    def __init__(self, code: str, detail: str, *, retry_after: int = RETRY_AFTER_SECONDS) -> None:
        super().__init__(code, detail)
        self.retry_after = retry_after


class ProblemResponse(JSONResponse):
    """A response that is a problem; when it is sent, the request learns its code."""

    media_type = MEDIA_TYPE

    def __init__(self, code: str, body: Mapping[str, Any], *, headers: Mapping[str, str]) -> None:
        """Sets what is sent.

        Args:
            code: A code of `PROBLEMS`.
            body: The problem object.
            headers: More headers.
        """
        super().__init__(body, status_code=body["status"], headers=headers)
        self._code = code

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends the response."""
        note_code(scope, self._code)
        await super().__call__(scope, receive, send)


def note_code(scope: Scope, code: str) -> None:
    """Notes the code of the problem that a request is answered with.

    Args:
        scope: The connection.
        code: A code of `PROBLEMS`.
    """
    scope.setdefault("state", {})[_CODE] = code


def code_of(scope: Scope) -> str | None:
    """Returns the code of the problem that a request was answered with; None of one that was answered otherwise."""
    code: str | None = scope.get("state", {}).get(_CODE)
    return code


def problem(code: str, detail: str = "", **members: object) -> dict[str, Any]:
    """Returns the problem object of an error code.

    Args:
        code: A code of `PROBLEMS`.
        detail: What was wrong; without it the object says what to do.
        members: The extension members.
    """
    remedy = REMEDIES[code]
    return {
        "type": f"urn:certrad:problem:{code}",
        "title": PROBLEMS[code].title,
        "status": remedy.status,
        "code": code,
        "detail": detail or remedy.what_to_do,
        **members,
    }


def problem_response(
    code: str,
    detail: str = "",
    *,
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, object] | None = None,
) -> ProblemResponse:
    """Returns the problem as a response; a 429 or 503 says when to try again.

    Args:
        code: A code of `PROBLEMS`.
        detail: What was wrong; without it the response says what to do.
        headers: More headers.
        members: The extension members.
    """
    body = problem(code, detail, **(members or {}))
    retry = {"Retry-After": str(RETRY_AFTER_SECONDS)} if body["status"] in _PASSING else {}
    return ProblemResponse(code, body, headers={**retry, **(headers or {})})


def problem_responses(*codes: str, common: bool = True) -> dict[int | str, dict[str, Any]]:
    """Returns the `responses` of a route that may respond with these codes, with one example for each.

    Args:
        codes: The error codes of the route itself.
        common: Whether those that every route has are among them.
    """
    responses: dict[int | str, dict[str, Any]] = {}
    for code in (*codes, *(_COMMON if common else ())):
        status = REMEDIES[code].status
        response = responses.setdefault(
            status,
            {
                "description": "",
                "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "examples": {}}},
            },
        )
        response["description"] = "; ".join(filter(None, (response["description"], PROBLEMS[code].title)))
        response["content"][MEDIA_TYPE]["examples"][code] = {"value": problem(code)}
    return responses


def refusal(errors: Sequence[Mapping[str, Any]]) -> Rejected:
    """Returns pydantic's errors as `unknown_field` or `invalid_request`; it holds no value of the client."""
    unknown = sorted(_name(error) for error in errors if error["type"] == "extra_forbidden")
    if unknown:
        return Rejected("unknown_field", "this call has no field " + ", ".join(f"`{name}`" for name in unknown))
    return InvalidRequest({_name(error): error["msg"].removeprefix("Value error, ") for error in errors})


def install(app: FastAPI) -> None:
    """Makes every expected error of the app a problem."""

    @app.exception_handler(Rejected)
    async def rejected(request: Request, error: Rejected) -> JSONResponse:
        note_refusal(request, error.code)
        members = {"errors": error.errors} if isinstance(error, InvalidRequest) else None
        headers = {"Retry-After": str(error.retry_after)} if isinstance(error, TryLater) else None
        return problem_response(error.code, error.detail, headers=headers, members=members)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return await rejected(request, refusal(error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = _CODE_OF_STATUS.get(error.status_code, "internal_error")
        detail = str(error.detail) if error.status_code == 400 else ""
        allow = {"Allow": allowed_methods(request)} if error.status_code == 405 else {}
        return problem_response(code, detail, headers={**(error.headers or {}), **allow})

    @app.exception_handler(KeyFileError)
    async def keys_unreadable(_: Request, __: KeyFileError) -> JSONResponse:
        return problem_response("access_unavailable")

    async def redis_down(_: Request, __: Exception) -> JSONResponse:
        return problem_response("redis_unavailable")

    for kind in _REDIS_DOWN:
        app.exception_handler(kind)(redis_down)

    @app.exception_handler(redis_errors.ResponseError)
    async def redis_refused(request: Request, error: redis_errors.ResponseError) -> JSONResponse:
        if not refuses_writes(error):
            raise error
        return await redis_down(request, error)


def _name(error: Mapping[str, Any]) -> str:
    """Returns the field of a pydantic error: its location without the part of the request and inner indices."""
    location = [str(part) for part in error["loc"] if part not in ("query", "body", "path", "header")]
    return location[0] if location else "body"
