"""The caller of a request, as the middleware of access control found it."""

from typing import Annotated, cast

from fastapi import Depends, Request

from certrad.workers.contract.access import Caller


def caller(request: Request) -> Caller:
    """Returns who sent the request; a service that is open on loopback knows one local caller.

    A route without a caller fails: the middleware has not seen the request, or lets everyone in.
    """
    return cast("Caller", request.state.caller)


CallerDep = Annotated[Caller, Depends(caller)]
