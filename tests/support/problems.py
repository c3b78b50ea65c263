"""The parts of an HTTP response that tests read, and the checks of one that is an RFC 9457 problem."""

from collections.abc import Mapping
from typing import Any, Protocol

from certrad.app.api.remedies import REMEDIES
from certrad.models.errors import PROBLEMS


class Response(Protocol):
    """A response of either client: httpx, or the httpx2 that Starlette's test client prefers where it is installed."""

    @property
    def status_code(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    @property
    def text(self) -> str: ...

    def json(self) -> Any: ...


def assert_problem(response: Response, code: str) -> dict[str, Any]:
    """Checks that a response is the problem of a code and returns its body."""
    body: dict[str, Any] = response.json()
    assert body["code"] == code, body
    assert response.status_code == body["status"] == REMEDIES[code].status
    assert response.headers["content-type"] == "application/problem+json"
    assert body["title"] == PROBLEMS[code].title
    assert body["type"] == f"urn:certrad:problem:{code}"
    return body


def refused_fields(response: Response) -> list[str]:
    """The fields an `invalid_request` names."""
    return [error["field"] for error in assert_problem(response, "invalid_request")["errors"]]
