"""What a client of the HTTP API raises when the service refuses, or does not answer."""

import httpx


class ProblemError(Exception):
    """The service refused with an RFC 9457 problem, or the client could not reach it, with the code `unreachable`."""

    def __init__(self, *, status: int, code: str, title: str, detail: str) -> None:
        super().__init__(f"{title}: {detail} ({code})")
        self.status = status
        self.code = code
        self.title = title
        self.detail = detail


def problem_of(response: httpx.Response) -> ProblemError:
    """Returns the refusal that a response is.

    Args:
        response: A response with a status of 400 or more.
    """
    try:
        body = response.json()
        return ProblemError(status=response.status_code, code=body["code"], title=body["title"], detail=body["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP {response.status_code} without a problem body; is this the address of certrad?"
        return ProblemError(status=response.status_code, code="not_certrad", title="Not the service", detail=detail)


def unreachable(error: httpx.TransportError) -> ProblemError:
    """Returns the refusal that a failure to reach the service is.

    Args:
        error: The failure.
    """
    detail = f"{type(error).__name__}; `certrad up` starts the service on this machine"
    return ProblemError(status=0, code="unreachable", title="The service does not answer", detail=detail)
